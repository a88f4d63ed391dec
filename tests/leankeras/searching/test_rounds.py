import json
import os
import signal
import subprocess
import sys

import pytest

from kopt.project import ROOT
from leankeras.budget import Budget
from leankeras.errors import DataError, KoptError
from leankeras.searching import Candidate, Clock, Goal, ThisProcess, Trials, in_rounds
from leankeras.searching.figures import figures
from leankeras.searching.study import ROUND
from tests.leankeras.searching.stubs import GOAL, SCORE, SPACE, Stubs, candidates, run

MOST = 3 * ROUND


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A search of no work."""
    return run(tmp_path_factory.mktemp("plain"), Stubs(), MOST)


def test_the_same_seed_tries_the_same_chains_however_the_clock_runs(plain, tmp_path):
    noisy = run(tmp_path, Stubs(noise=0.3), MOST)
    assert candidates(noisy) == candidates(plain)
    assert len(set(candidates(plain))) > MOST / 2
    other = run(tmp_path / "..", Stubs(), MOST, seed=1)
    assert candidates(other)[2:] != candidates(plain)[2:]


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_every_sampler_and_goal_ends(sampler, tmp_path):
    front = Goal("front", Budget(), SCORE)
    trials = run(tmp_path, Stubs(), 2 * ROUND, goal=front, sampler=sampler)
    assert len(trials.outcomes()) == 2 * ROUND
    assert trials.goal.finalists(trials.outcomes())


def test_the_figures_show_history_front_and_what_decides(plain, tmp_path):
    assert list(figures(plain)) == [
        "Score against latency",
        "History: estimated latency (log ns)",
        "What decides: estimated latency (log ns)",
    ]
    front = figures(run(tmp_path, Stubs(), 2 * ROUND, goal=Goal("front", Budget(), SCORE)))
    assert "The front" in front
    assert len(front) == 8
    for figure in front.values():
        assert figure.data


def test_each_architecture_is_measured_once_and_beaten_ones_are_not_trained(plain, tmp_path):
    stubs = Stubs()
    trials = run(tmp_path, stubs, MOST)
    names = [trials.candidate(number).architecture for number in trials.outcomes()]
    measured = [stem for kind, stem in stubs.done if kind == "untrained"]
    assert len(measured) == len(set(names))
    trained = {int(stem) for kind, stem in stubs.done if kind == "full"}
    dropped = {n for n, each in trials.outcomes().items() if "dropped" in each}
    assert dropped
    assert trained == set(trials.outcomes()) - dropped
    # what was given is never dropped: the default chain and the model as it is
    assert {0, 1, 2} <= trained
    kept = {path.stem for path in tmp_path.glob("*.tflite")}
    assert kept == {"0", "1", "2", *map(str, trials.goal.finalists(trials.outcomes()))}


def test_a_chain_that_was_tried_before_is_not_trained_again(tmp_path):
    stubs, chain = Stubs(), Candidate({"conv": 0.2}, distil_epochs=4)
    trials = Trials(tmp_path / "journal.log", GOAL, SPACE, "tpe", 0)
    for _ in range(2):
        trials.study.enqueue_trial(SPACE.anchors()[0][0], user_attrs={"candidate": chain.to_json()})
    outcomes = run(tmp_path, stubs, ROUND).outcomes()
    assert "dropped" not in outcomes[3]
    assert outcomes[4]["dropped"] == "tried before"
    assert outcomes[4]["lost"] == outcomes[3]["lost"]
    assert ("full", "4") not in stubs.done


class Stop(BaseException):
    """What Ctrl-C is to a search."""


class Stopping(Stubs):
    def full(self, shared, candidate, path):
        if path.stem == str(ROUND + 1):
            raise Stop
        return super().full(shared, candidate, path)


def test_what_was_interrupted_goes_on_as_if_it_had_not_been(plain, tmp_path):
    first = Stopping()
    with pytest.raises(Stop):
        run(tmp_path, first, MOST)
    second = Stubs()
    assert candidates(run(tmp_path, second, MOST)) == candidates(plain)
    assert not set(first.done) & set(second.done)


def test_a_killed_process_loses_at_most_the_trials_at_work(plain, tmp_path):
    search_path = os.pathsep.join([str(ROOT), str(ROOT / "leankeras")])
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.leankeras.searching.stubs", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": search_path},
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(3):
        assert started.stdout.readline() == "at work\n"
    started.send_signal(signal.SIGKILL)
    started.wait()
    started.stdout.close()
    journal = tmp_path / "journal.log"
    with journal.open("a") as file:  # what a kill in the middle of a line leaves
        file.write('{"op_code": 8, "trial')
    (tmp_path / "journal.log.lock").touch()
    stubs = Stubs()
    assert candidates(run(tmp_path, stubs, MOST)) == candidates(plain)
    assert not {("full", "0"), ("full", "1")} & set(stubs.done)


class Breaking(Stubs):
    def full(self, shared, candidate, path):
        if path.stem == "3":
            raise KoptError("the converter refused the model")
        if path.stem == "5":
            return {"lost": float("nan")}
        return super().full(shared, candidate, path)

    def untrained(self, shared, candidate, path):
        if path.stem == "untrained-4":
            raise ValueError("odd")
        return super().untrained(shared, candidate, path)


def test_a_failure_costs_its_trial_only(tmp_path):
    trials = run(tmp_path, Breaking(), ROUND)
    outcomes = trials.outcomes()
    assert outcomes[5]["reason"] == "its score is not a number"
    assert outcomes[3]["dropped"] == outcomes[4]["dropped"] == "failed"
    assert outcomes[3]["reason"] == "the converter refused the model"
    assert outcomes[4]["reason"] == "ValueError: odd"
    assert sum("lost" in each for each in outcomes.values()) > 2


def test_time_is_kept_and_unfinished_trials_wait_for_the_next_time(tmp_path):
    stubs, clock = Stubs(), Clock(1000)
    trials = Trials(tmp_path / "journal.log", GOAL, SPACE, "tpe", 0)

    def say(number, outcome):
        if "lost" in outcome:
            clock.seconds = -1.0  # the time is up

    in_rounds(trials, ThisProcess(None), tmp_path, tmp_path, clock, MOST, say, stubs.tasks())
    assert sum("lost" in each for each in trials.outcomes().values()) == 1
    assert len(trials) == ROUND
    run(tmp_path, stubs, ROUND)
    assert sorted(n for k, n in stubs.done if k == "full") == sorted(
        str(n) for n, each in trials.outcomes().items() if "lost" in each
    )


def test_a_clock_knows_what_still_fits():
    clock = Clock(seconds=100)
    clock.note("timed", 2)
    clock.note("scoring", 0.5)
    assert clock.reserve == 10
    assert clock.has_time_for("full")
    clock.note("short", 20)
    assert clock.has_time_for("full")
    clock.note("short", 30)
    assert not clock.has_time_for("full")
    assert clock.has_time_for("short")
    assert Clock(None).left == float("inf")


def test_a_damaged_journal_is_refused(tmp_path):
    (tmp_path / "journal.log").write_text("{}\nnothing of ours\n{}\n")
    with pytest.raises(DataError, match=r"a damaged journal .*; choose another --run-dir"):
        Trials(tmp_path / "journal.log", GOAL, SPACE, "tpe", 0)
    (tmp_path / "journal.log").write_text(json.dumps({"op_code": 99}) + "\n")
    with pytest.raises(DataError, match="a damaged journal"):
        Trials(tmp_path / "journal.log", GOAL, SPACE, "tpe", 0)
