"""Exercises on devices: memory that can be counted, and settings that must be measured."""

from typing import Any

import pandas as pd

from kopt.checks.check import Check, check_number, not_answered, not_yet, right


def least_memory(answer: Any, operators: pd.DataFrame) -> Check:
    """The RAM below which no runtime can run a file: its hungriest operator's tensors.

    Args:
        answer: bytes.
        operators: one row per operator, with the bytes of its ``inputs`` and ``outputs``, without
            those in the file.

    Example:
        >>> least_memory(2_432, operators)
        right: 2,432 bytes: an operator reads its inputs while it writes its outputs
    """
    need = operators.inputs + operators.outputs
    largest = max(operators.inputs.max(), operators.outputs.max())
    return check_number(
        answer,
        need.max(),
        task="the least RAM in bytes",
        because=f"{need.max():,} bytes: an operator reads its inputs while it writes its outputs",
        hint="which tensors must exist at the same moment? Take the worst moment",
        mistakes=(
            (need.sum(), "that keeps every tensor to the end; most can be overwritten long before"),
            (operators.outputs.sum(), "results that nobody reads any more can be overwritten"),
            (largest, "that is the largest tensor; what must exist beside it?"),
            (need.mean(), "memory has to suffice at the worst moment, not on average"),
        ),
        tolerance=0.001,
    )


def setting_to_ship(answer: Any, settings: pd.DataFrame) -> Check:
    """The runtime setting that is measurably faster than the default; the default if none is.

    Args:
        answer: a name from the table's index.
        settings: the rows for one file, the default first, with ``ratio`` and its interval.
    """
    names, default = list(settings.index), settings.index[0]
    if answer is ...:
        return not_answered(f"replace the dots with one of {', '.join(names)}")
    if answer not in names:
        return not_yet(f"saw {answer!r:.60}; expected one of {', '.join(names)}")
    faster = settings[settings.verdict == "faster"]
    if faster.empty and answer == default:
        return right(f"{default}: no other setting could be shown to be faster")
    if answer not in faster.index:
        return not_yet(f"{answer}: is the whole interval of its ratio below 1?")
    if settings.ratio_low[answer] > faster.ratio_high[faster.ratio.idxmin()]:
        return not_yet(f"{answer} is faster than the default, but another one is faster still")
    return right(f"{answer}: {settings.ratio[answer]:.2f} of the default's latency on this machine")
