import pandas as pd
import pytest

from kopt import checks
from kopt.checks.check import NOT_ANSWERED, NOT_YET
from leankeras.task import Merit

ACCURACY = Merit("accuracy", "accuracy")
SETTINGS = {"labels alone": (0.84, 0.85), "T = 4": (0.86, 0.88), "T = 1": (0.845, 0.87)}


def trials(seeds=2, **settings):
    rows = [
        {"setting": name, "seed": seed, "accuracy": values[seed]}
        for name, values in (settings or SETTINGS).items()
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def better(answer, table=None):
    return checks.better_settings(
        answer, trials() if table is None else table, ACCURACY, "labels alone"
    )


@pytest.mark.parametrize("answer", [4580, 4580.0, 4600])
def test_four_times_the_samples_halve_the_interval(answer):
    assert checks.samples_for_half_the_interval(answer, samples=1145).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (..., "the number of test samples"),
        (2290, "under a square root"),
        (3435, "how many in total"),
        (572, "wider"),
        (286, "wider"),
        (4, "that is the factor"),
        (1145**2, "square root of n"),
        (5000, "too large"),
    ],
)
def test_other_numbers_of_samples_do_not(answer, hint):
    check = checks.samples_for_half_the_interval(answer, samples=1145)
    assert not check.passed
    assert hint in check.message


@pytest.mark.parametrize("answer", [{"T = 4"}, ["T = 4"], ("T = 4",), frozenset({"T = 4"})])
def test_a_setting_is_better_where_its_spread_lies_above(answer):
    assert better(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({"T = 4", "T = 1"}, "T = 1: its mean is higher, but the spreads overlap"),
        ({"T = 1"}, "the spreads overlap"),
        (set(), "one is missing"),
        ({"T = 5"}, "'T = 5' is not a setting; expected any of T = 1, T = 4"),
        ({"labels alone"}, "is not a setting"),
        ("T = 4", "expected a set"),
        (0.8, "expected a set"),
        ([["T = 4"]], "is not a setting"),
    ],
)
def test_other_settings_are_not(answer, hint):
    assert better(answer).state == NOT_YET
    assert hint in better(answer).message


def test_a_setting_with_a_lower_mean_is_not_better():
    table = trials(**{"labels alone": (0.8, 0.9), "T = 8": (0.7, 0.8)})
    assert "compare its min" in better({"T = 8"}, table).message
    assert better(set(), table).passed


def test_one_seed_decides_nothing():
    one = trials(seeds=1)
    assert better(set(), one).passed
    assert "what is the spread of one value?" in better({"T = 4"}, one).message
    assert better(..., one).state == NOT_ANSWERED


COLUMNS = ["accuracy_lost", "lost_high", "size_kb", "ratio", "ratio_low", "ratio_high"]
CURVE = pd.DataFrame(
    [
        (0.000, 0.000, 134.0, 1.000, 1.000, 1.000),
        (0.031, 0.045, 80.0, 0.869, 0.868, 0.870),
        (0.040, 0.060, 38.0, 0.500, 0.499, 0.501),
        (0.202, 0.228, 12.0, 0.282, 0.281, 0.283),
    ],
    columns=COLUMNS,
    index=pd.Index([0.0, 0.25, 0.5, 0.75], name="fraction"),
)
MODES = pd.DataFrame(
    [
        (0.000, 0.000, 38.5, 1.000, 1.000, 1.000),
        (0.001, 0.004, 16.5, 0.750, 0.749, 0.751),
        (0.001, 0.007, 16.3, 0.505, 0.495, 0.515),
        (0.001, 0.007, 16.0, 0.497, 0.487, 0.507),
        (0.003, 0.012, 15.7, 0.450, 0.449, 0.451),
    ],
    columns=COLUMNS,
    index=pd.Index(["float32", "dynamic", "int8", "int8-io", "int8, QAT"], name="target"),
)


def fraction(answer):
    return checks.fastest_within(answer, CURVE, ACCURACY, may_lose=0.05)


def mode(answer, size_kb=20):
    return checks.fastest_within(answer, MODES, ACCURACY, may_lose=0.01, size_kb=size_kb)


@pytest.mark.parametrize(
    "check", [fraction(0.25), fraction(1 / 4), mode("int8-io"), mode("int8"), mode(None, 10)]
)
def test_the_fastest_that_keeps_within_the_limits_is_right_and_so_is_one_as_fast(check):
    assert check.passed


@pytest.mark.parametrize(
    ("check", "hint"),
    [
        (fraction(...), "a fraction from the table"),
        (fraction(0.5), "but lost_high is not"),
        (fraction(0.75), "loses more than the 5 points allowed"),
        (fraction(0.0), "so is something faster"),
        (fraction(0), "so is something faster"),
        (fraction(25), "a percentage"),
        (fraction(0.3), "expected one of 0.0, 0.25, 0.5, 0.75, or None"),
        (fraction("0.25"), "saw '0.25'"),
        (fraction([0.25]), "saw [0.25]"),
        (fraction(True), "saw True"),
        (fraction(None), "2 of 4 rows are within"),
        (mode("float32"), "float32 has 38.5 kB"),
        (mode("dynamic"), "so is something faster"),
        (mode("int8, QAT"), "lost_high"),
        (mode("int4"), "expected one of float32"),
        (mode("int8", 10), "the limit is 10"),
    ],
)
def test_other_rows_are_not(check, hint):
    assert not check.passed
    assert hint in check.message
