import numpy as np
import pandas as pd
import pytest

from leankeras.budget import Budget
from leankeras.runtime import choose, largest_share, pareto_front, pick_fastest
from leankeras.task import Merit

SIZES = {"a": 30, "b": 20, "c": 20}
ACCURACY = Merit("accuracy", "accuracy")
TELLABLE = 1.02  # clear of the intervals below


@pytest.mark.parametrize(
    ("ratios", "chosen"),
    [
        ({"a": 1.0, "b": TELLABLE, "c": TELLABLE}, "a"),
        ({"a": TELLABLE, "b": 1.0, "c": TELLABLE}, "b"),
        ({"a": 1.0, "b": 1.001, "c": TELLABLE}, "b"),
        ({"a": 1.0, "b": TELLABLE, "c": 1.001}, "c"),
        ({"a": 1.0, "b": 1.002, "c": 1.001}, "b"),
        ({"a": 1.002, "b": 1.001, "c": 1.0}, "b"),
        ({"a": 0.5}, "a"),
    ],
)
def test_the_smaller_of_equally_fast_ones_is_picked_whichever_came_out_ahead(ratios, chosen):
    ratio = pd.Series(ratios)
    table = pd.DataFrame({"ratio": ratio, "ratio_low": ratio - 0.003, "ratio_high": ratio + 0.003})
    assert pick_fastest(table, SIZES) == chosen


def test_a_wide_interval_cannot_tell():
    table = pd.DataFrame(
        {"ratio": [0.5, 0.8], "ratio_low": [0.4, 0.5], "ratio_high": [0.6, 1.2]}, index=["a", "b"]
    )
    assert pick_fastest(table, SIZES) == "b"


def measured(**rows):
    """A table of files: what each loses, the interval of that, its latency and its size."""
    columns = ["accuracy_lost", "lost_low", "lost_high", "ratio", "size_kb"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.assign(ratio_low=table.ratio - 0.02, ratio_high=table.ratio + 0.02)


@pytest.mark.parametrize(
    ("limit", "chosen"), [(None, "loses_most"), (0.05, "smaller_and_loses_less"), (-0.5, "slow")]
)
def test_the_choice_is_the_fastest_that_the_budget_allows(limit, chosen):
    """Of equally fast ones the smallest, then the one that loses least; else that alone."""
    table = measured(
        slow=(0.0, 0.0, 0.0, 1.0, 9.0),
        loses_most=(0.2, 0.1, 0.3, 0.1, 1.0),
        fast=(0.02, 0.0, 0.04, 0.3, 5.0),
        smaller=(0.03, 0.0, 0.06, 0.31, 4.0),
        smaller_and_loses_less=(0.01, 0.0, 0.02, 0.31, 4.0),
    )
    assert choose(table, Budget(accuracy_loss=limit), ACCURACY)[0] == chosen


def test_a_loss_that_may_be_won_back_is_held_against_the_budget_by_its_interval():
    table = measured(
        given=(0.0, 0.0, 0.0, 1.0, 9.0),
        unsure=(0.02, 0.005, 0.035, 0.5, 5.0),
        ruined=(0.3, 0.25, 0.35, 0.1, 1.0),
    )
    budget = Budget(accuracy_loss=0.01)
    chosen, reason = choose(table, budget, ACCURACY, given="given")
    assert chosen == "given"
    assert "as it came; nothing faster" in reason
    assert choose(table, budget, ACCURACY, given="given", later=True) == (
        "unsure",
        "unsure (the best that may be held within the budget): -2.0 points [-3.5, -0.5]: worse, "
        "0.50× the latency",
    )
    ruined = choose(table.loc[["ruined"]], budget, ACCURACY, given="ruined")
    assert "nothing is within the budget, and this loses least" in ruined[1]


@pytest.mark.parametrize(
    ("limit", "largest"),
    [(0.05, 0.75), (0.01, 0.5), (-0.01, 0.0), (None, 0.25)],
)
def test_the_largest_share_is_one_whose_loss_may_be_held(limit, largest):
    table = measured(
        **{"0": (0, 0, 0, 1, 9), "0.25": (0.01, -0.005, 0.02, 0.8, 7)},
        **{"0.5": (0.02, 0.008, 0.03, 0.6, 4), "0.75": (0.07, 0.04, 0.1, 0.3, 2)},
    )
    curve = table.set_axis(table.index.astype(float))
    assert largest_share(curve, Budget(accuracy_loss=limit), ACCURACY) == largest


def test_a_front_agrees_with_trying_every_pair():
    costs = np.random.default_rng(0).integers(0, 6, (60, 3)).tolist()

    def beats(one, other):
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    on_front = [not any(beats(other, own) for other in costs) for own in costs]
    assert pareto_front(pd.DataFrame(costs)).tolist() == on_front


def test_rows_that_are_equal_in_everything_beat_nobody():
    assert pareto_front(pd.DataFrame({"us": [5.0] * 4, "size_kb": [1.0] * 4})).all()
