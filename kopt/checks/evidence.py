"""Exercises on evidence: what a measured difference is worth and what follows from it."""

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from kopt.checks.check import (
    Check,
    as_number,
    check_number,
    is_close,
    not_answered,
    not_yet,
    right,
)
from leankeras.task import Merit


def samples_for_half_the_interval(answer: Any, samples: int) -> Check:
    """How many test samples make the confidence interval of a score half as wide.

    The standard error of a mean falls with the square root of the number of samples.

    Args:
        answer: total number of samples.
        samples: the number now.

    Example:
        >>> samples_for_half_the_interval(4000, samples=1000)
        right: four times as many, 4,000: the width shrinks with the square root
    """
    return check_number(
        answer,
        4 * samples,
        task="the number of test samples, a whole number",
        because=f"four times as many, {4 * samples:,}: the width shrinks with the square root",
        hint="the interval of an accuracy p on n samples is ± 1.96 √(p (1 − p) / n)",
        mistakes=(
            (2 * samples, "n is under a square root: twice as many do not halve the width"),
            (3 * samples, "that is how many more are needed; the question is how many in total"),
            (samples / 2, "fewer samples make the interval wider"),
            (samples / 4, "fewer samples make the interval wider"),
            (samples**2, "the width shrinks with the square root of n: solve √(n_new / n) = 2"),
            (samples * 2**0.5, "the square root is on the wrong side: solve √(n_new / n) = 2"),
            (4, "that is the factor; the question is how many samples in total"),
        ),
        tolerance=0.01,
    )


def better_settings(answer: Any, trials: pd.DataFrame, merit: Merit, baseline: str) -> Check:
    """Which settings beat a baseline by more than the luck of the seed can explain.

    Args:
        answer: a set of names of settings, empty if there are none.
        trials: one row per trial, with ``setting``, ``seed`` and the score by its name.
        merit: the score.
        baseline: the setting to compare the others with.

    Example:
        >>> better_settings({"T = 4"}, trials, score, baseline="labels alone")
        right: even its worst seed beats the best one of labels alone: T = 4
    """
    if answer is ...:
        return not_answered("replace the dots with a set of settings; set() means none")
    if not isinstance(answer, set | frozenset | list | tuple):
        return not_yet(f"saw {answer!r:.60}; expected a set of settings, such as {{'a', 'b'}}")
    goodness = trials.assign(score=(-1 if merit.is_error else 1) * trials[merit.name])
    spread = goodness.groupby("setting").score.agg(["mean", "min", "max"])
    others = spread.drop(baseline)
    base = spread.loc[baseline]
    unknown = [name for name in answer if name not in list(others.index)]
    if unknown:
        return not_yet(
            f"{unknown[0]!r} is not a setting; expected any of {', '.join(others.index)}"
        )
    named, single = set(answer), trials.groupby("setting").seed.nunique().min() < 2
    better = set() if single else set(others.index[others["min"] > base["max"]])
    if named == better:
        if single:
            return right("none: a single seed has no spread to judge by")
        names = f"even its worst seed beats the best one of {baseline}: {', '.join(sorted(better))}"
        return right(
            names if better else f"none: no setting's worst seed beats the best one of {baseline}"
        )
    if single:
        return not_yet("each setting has only one seed here; what is the spread of one value?")
    if named - better:
        name = sorted(named - better)[0]
        by_mean = others.loc[name, "mean"] > base["mean"]
        return not_yet(
            f"{name}: its mean is higher, but the spreads overlap; compare its min with the max "
            f"of {baseline}"
            if by_mean
            else f"{name}: compare its min with the max of {baseline}"
        )
    return not_yet("at least one is missing: its worst seed beats the best one of the baseline")


def fastest_within(
    answer: Any,
    table: pd.DataFrame,
    merit: Merit,
    may_lose: float,
    size_kb: float | None = None,
) -> Check:
    """The fastest row of a table whose upper bound of the loss and whose size are within limits.

    If several rows are equally fast as far as can be measured, each of them is right.

    Args:
        answer: a name from the table's index; None means that nothing fits.
        table: with ``lost_high`` and what is lost of the score (fractions), ``size_kb`` (1000
            bytes), ``ratio``, ``ratio_low`` and ``ratio_high``.
        merit: the score.
        may_lose: the largest loss allowed, a fraction.
        size_kb: the largest size allowed, if there is a limit.

    Example:
        >>> fastest_within(0.25, curve, score, may_lose=0.05)
        right: 0.25 loses at most 4.5 points, interval included, at 0.87 of the latency
    """
    kind = table.index.name or "row"
    if answer is ...:
        return not_answered(f"replace the dots with a {kind} from the table; None: no row fits")
    safe = table.lost_high <= may_lose
    small = table.size_kb <= (math.inf if size_kb is None else size_kb)
    fits = table[safe & small]
    if answer is None:
        if fits.empty:
            return right("none: nothing in the table is within the limits")
        return not_yet(f"{len(fits)} of {len(table)} rows are within the limits")
    name = _row(answer, table)
    if name is None:
        number = as_number(answer)
        percent = number is not None and _row(number / 100, table) is not None
        known = ", ".join(map(str, table.index))
        return not_yet(
            "that is a percentage; the table has fractions"
            if percent
            else f"saw {answer!r:.60}; expected one of {known}, or None"
        )
    row = table.loc[name]
    if not small[name]:
        return not_yet(f"{name} has {row.size_kb:.3g} kB; the limit is {size_kb:.3g}")
    if not safe[name]:
        return not_yet(
            f"{name}: its measured loss is within the limit, but lost_high is not"
            if row[merit.columns[1]] <= may_lose
            else f"{name} loses more than the {100 * may_lose:g} {merit.unit} allowed"
        )
    best = fits.loc[fits.ratio.idxmin()]
    if row.ratio_low > best.ratio_high:
        return not_yet(f"{name} is within the limits, but so is something faster")
    return right(
        f"{name} loses at most {100 * row.lost_high:.1f} {merit.unit}, interval included, at "
        f"{row.ratio:.2f} of the latency"
    )


def _row(answer: Any, table: pd.DataFrame) -> Hashable | None:
    """The name of the row meant; the same number may be written differently."""
    number = as_number(answer)
    for name in table.index:
        value = as_number(name)
        if number is not None and value is not None and is_close(number, value, 1e-6):
            return name
        if isinstance(answer, str) and answer == name:
            return name
    return None
