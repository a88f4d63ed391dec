import pandas as pd
import pytest

from leankeras.runtime.latency import pick_fastest

SIZES = {"a": 30, "b": 20, "c": 20}
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
