import pandas as pd
import pytest

from leankeras.budget import Budget
from leankeras.errors import ParameterError
from leankeras.searching import Goal
from leankeras.searching.outcome import sieves_table, what_is_missed
from tests.leankeras.searching.stubs import SCORE

LIMITS = Budget(latency_us=20, size_kb=30, accuracy_loss=0.01)


def outcome(cost=100.0, us=10.0, size=10.0, **more):
    known = {"cost": cost, "us": us, "us_low": 0.9 * us, "us_high": 1.1 * us, "size_kb": size}
    return {**known, "ratio": us / 10, **more}


def goal(name, budget=LIMITS):
    return Goal(name, budget, SCORE)


@pytest.mark.parametrize(
    ("name", "budget", "told"),
    [
        ("quickest", LIMITS, "goal: saw 'quickest'"),
        ("fastest", Budget(latency_us=3), "say what may be lost"),
        ("smallest", Budget(), "say what may be lost"),
        ("accurate", Budget(accuracy_loss=0.01), "limit latency or size"),
        ("fastest", Budget(error_growth=0.03), "is a share"),
    ],
)
def test_a_goal_without_a_limit_or_of_another_task_is_refused(name, budget, told):
    with pytest.raises(ParameterError, match=told):
        goal(name, budget)


def test_an_architecture_beyond_the_budget_is_dropped_if_the_whole_interval_is():
    fastest = goal("fastest")
    assert fastest.drop_untrained(outcome(size=31), []) == "too large"
    assert fastest.drop_untrained(outcome(us=23), []) == "too slow"
    assert fastest.drop_untrained(outcome(us=22), []) == ""


def test_what_cannot_beat_the_best_within_the_budget_is_dropped():
    good, bad = outcome(cost=100, lost=0.0), outcome(cost=10, lost=0.5)
    assert goal("fastest").drop_untrained(outcome(cost=130), [good, bad]) == "slower than the best"
    assert goal("fastest").drop_untrained(outcome(cost=120), [good, bad]) == ""
    assert goal("smallest").drop_untrained(outcome(size=10), [good]) == "larger than the best"
    assert goal("accurate").drop_untrained(outcome(cost=500), [good]) == ""


def test_a_short_training_drops_what_no_gain_so_far_would_save():
    done = [outcome(short_lost=0.05, lost=0.02), outcome(short_lost=0.04, lost=0.0)]
    assert goal("fastest").drop_short(outcome(short_lost=0.2), []) == ""
    assert goal("fastest").drop_short(outcome(short_lost=0.04), done) == ""
    assert goal("fastest").drop_short(outcome(short_lost=0.06), done) == "loses too much"
    free = goal("accurate", Budget(latency_us=20))
    assert free.drop_short(outcome(short_lost=0.06), done) == "loses more than the best"
    front = goal("front", Budget())
    assert front.drop_short(outcome(short_lost=0.06, cost=101), done) == "beaten in everything"
    assert front.drop_short(outcome(short_lost=0.06, cost=99), done) == ""


def test_the_sampler_is_told_nothing_that_a_clock_says():
    slow, fast = outcome(us=19, lost=0.02), outcome(us=5, lost=0.02)
    for name in ("fastest", "smallest", "accurate", "front"):
        assert goal(name).values(slow) == goal(name).values(fast)
        assert goal(name).constraints(slow) == goal(name).constraints(fast)
    told = goal("fastest").constraints(outcome(size=60, lost=0.03))
    assert told == {"latency": 0.0, "size": 1.0, "score": pytest.approx(0.02)}


def test_the_finalists_are_the_best_within_the_budget_or_the_nearest_to_it():
    trials = {
        0: outcome(us=12, lost=0.0),
        1: outcome(us=8, lost=0.02),
        2: outcome(us=9, lost=0.01),
        3: outcome(us=9, size=20, lost=-0.01),
        4: outcome(us=1, dropped="loses too much"),
    }
    assert goal("fastest").finalists(trials) == [2, 3, 0]
    assert goal("smallest").finalists(trials) == [0, 2, 3]
    assert goal("accurate").finalists(trials)[0] == 3
    assert sorted(goal("front").finalists(trials)) == [0, 2, 3]
    far = {0: outcome(us=12, lost=0.5), 1: outcome(us=12, lost=0.03), 2: outcome(us=90, lost=0.0)}
    assert goal("fastest").finalists(far) == [1]
    assert "its loss on the validation part is 3 points, above 1 points" in what_is_missed(
        goal("fastest"), far[1]
    )
    assert "latency is 90 µs, above 20 µs" in what_is_missed(goal("fastest"), far[2])


def test_the_winner_of_files_that_cannot_be_told_apart_is_the_smallest():
    rows = {
        1: {"ratio": 0.5, "ratio_low": 0.45, "ratio_high": 0.55, "size_kb": 9.0},
        2: {"ratio": 0.52, "ratio_low": 0.47, "ratio_high": 0.57, "size_kb": 8.0},
        3: {"ratio": 0.9, "ratio_low": 0.8, "ratio_high": 1.0, "size_kb": 7.0},
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table[SCORE.columns[1]] = [0.01, 0.005, -0.01]
    assert goal("fastest").choose(table) == 2
    assert goal("smallest").choose(table) == 3
    assert goal("accurate").choose(table) == 3


def test_the_sieves_count_what_came_and_what_it_cost():
    trials = {
        0: outcome(lost=0.0, short_lost=0.1, untrained_seconds=1, timed_seconds=1,
                   short_seconds=2, full_seconds=5),
        1: outcome(dropped="too slow", untrained_seconds=1, timed_seconds=1),
        2: outcome(dropped="loses too much", short_lost=0.3, timed_seconds=1, short_seconds=2),
        3: {"dropped": "failed", "untrained_seconds": 4},
        4: outcome(dropped="failed", short_lost=0.1, short_seconds=2, full_seconds=3),
    }  # fmt: skip
    table = sieves_table(trials)
    assert table.trials.tolist() == [5, 3, 2]
    assert table.dropped.tolist() == [2, 1, 1]
    assert table.seconds.tolist() == [9, 6, 8]
    assert table.why.tolist() == ["1 too slow, 1 failed", "1 loses too much", "1 failed"]
