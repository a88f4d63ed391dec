"""Latency as a paired ratio: every target is timed beside a reference, in the same rounds.

A time on its own says as much about what else the machine was doing as about the model. Targets
are therefore sampled in short turns of about a millisecond, in a new random order each round;
within a round all of them see the same machine, so the ratio of two times keeps its meaning when
neither time does. A turn begins with calls that are not timed: a slow target, which makes two
calls a turn, would else pay more for cold caches than a fast one, which makes a hundred. Where a
file's tensors come to lie in memory can change its latency for as long as it is loaded; so every
file is loaded several times, in turns with the others, and the rounds go through the copies. The
interval is a bootstrap over rounds (Efron and Tibshirani, "An Introduction to the Bootstrap",
1993, ch. 13).
"""

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leankeras.errors import MeasurementError
from leankeras.runtime.artifacts import as_call, is_tflite

TURN_SECONDS = 0.5e-3
UNTIMED_CALLS = 2  # the third call after another target's turn takes no longer than the tenth
LONG_CALL_SECONDS = 5e-3  # whose own length makes up for cold caches
SECONDS = 1.5
MIN_ROUNDS, MAX_ROUNDS = 20, 300
RESAMPLES = 2000
COPIES = 6
BUSY_CPU_SHARE = 0.2
RESOLUTION = 0.02  # what a model differs from itself by, with its copies averaged


@dataclass(frozen=True)
class Comparison:
    """Latencies of several targets, measured side by side.

    Attributes:
        table: indexed by target name; ``median_us`` with its 95 % interval ``median_low`` and
            ``median_high``, ``p95_us`` (microseconds a call), ``ratio`` to the reference with its
            95 % interval ``ratio_low`` and ``ratio_high`` (below 1 is faster), and ``verdict``:
            "reference", "faster", "slower", or "cannot tell" where the interval comes within 0.02
            of 1 or the machine was too busy.
        reference: the name of the target the others are compared with.
        threads: threads that LiteRT targets were given.
        rounds: number of paired rounds.
        cpu_share: part of the wall time that this process was really running, 0 to 1; a low one
            means that other processes held the core.
        load: the system's load average over the last minute, in runnable processes.
    """

    table: pd.DataFrame
    reference: str
    threads: int
    rounds: int
    cpu_share: float
    load: float

    @property
    def busy(self) -> bool:
        """Whether other processes held the core for too long to say anything."""
        return self.cpu_share < BUSY_CPU_SHARE

    @property
    def conditions(self) -> str:
        """Under what conditions the table was measured, in a line."""
        line = (
            f"{self.rounds} paired rounds, {self.threads} LiteRT thread(s), "
            f"{self.cpu_share:.0%} of the core, load {self.load:.1f}"
        )
        return f"{line}: too busy to tell" if self.busy else line

    def speedup(self, name: str) -> str:
        """How many times faster than the reference, with its interval, as text."""
        row = self.table.loc[name]
        return f"{1 / row.ratio:.3g}× [{1 / row.ratio_high:.3g}, {1 / row.ratio_low:.3g}]"

    def __str__(self) -> str:
        return f"{self.table.round(3).to_string()}\nagainst {self.reference}; {self.conditions}"

    def _repr_html_(self) -> str:
        table = self.table.to_html(float_format="{:.4g}".format)
        return f"{table}<p>against {self.reference}; {self.conditions}</p>"


def compare_latency(
    targets: Mapping[str, Callable | str | Path | Any],
    sample: np.ndarray,
    reference: str | None = None,
    threads: int = 1,
) -> Comparison:
    """Time several targets on one sample, paired with a reference.

    Args:
        targets: name to target: a callable of the sample, a Keras model (timed as a
            ``tf.function``), or a path to a ``.tflite``, a ``.keras`` or a SavedModel.
        sample: the input of one call with its batch axis, shape ``(1, ...)`` for a ``.tflite``.
        reference: a name in ``targets``; by default the first.
        threads: threads for LiteRT targets. TensorFlow's own are set before it starts.

    Raises:
        MeasurementError: no targets, an unknown reference, a target that cannot be run.

    Example:
        >>> comparison = compare_latency({"slow": "slow.tflite", "fast": "fast.tflite"}, x[:1])
        >>> comparison.table.loc["fast", "ratio"]
    """
    if not targets:
        raise MeasurementError("no targets to compare; expected at least one name and target")
    names = list(targets)
    reference = names[0] if reference is None else reference
    if reference not in targets:
        raise MeasurementError(f"reference {reference!r} is not among {', '.join(names)}")
    calls: dict[str, list[Callable]] = {name: [] for name in names}
    for copy in range(COPIES):
        for name in names if copy % 2 else reversed(names):  # the first to be loaded lies worst
            if copy == 0 or is_tflite(targets[name]):
                calls[name].append(as_call(targets[name], sample, threads))
    seconds, cpu_share = paired_rounds(calls)
    table = _table(seconds, reference)
    busy = cpu_share < BUSY_CPU_SHARE
    table["verdict"] = [
        "reference" if name == reference else "cannot tell" if busy else verdict(low, high)
        for name, low, high in zip(table.index, table.ratio_low, table.ratio_high, strict=True)
    ]
    return Comparison(
        table=table,
        reference=reference,
        threads=threads,
        rounds=len(seconds[reference]),
        cpu_share=cpu_share,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
    )


def paired_rounds(
    calls: dict[str, list[Callable[[], Any]]], warm: bool = True
) -> tuple[dict[str, np.ndarray], float]:
    """Seconds a call for every name and round, and the share of the core this process had.

    Args:
        calls: name to copies of a function of no arguments, gone through round by round.
        warm: whether turns begin with calls that are not timed.
    """
    shortest = {name: min(map(_shortest, copies)) for name, copies in calls.items()}
    names = list(calls)
    order = np.random.default_rng(0)
    rounds: list[list[float]] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        begin, running = time.perf_counter(), time.process_time()
        end = begin + SECONDS
        while len(rounds) < MIN_ROUNDS or (len(rounds) < MAX_ROUNDS and time.perf_counter() < end):
            turn = [0.0] * len(names)
            for index in order.permutation(len(names)):
                copies, seconds = calls[names[index]], shortest[names[index]]
                call = copies[len(rounds) % len(copies)]
                for _ in range(UNTIMED_CALLS if warm and seconds < LONG_CALL_SECONDS else 0):
                    call()
                count = max(1, round(TURN_SECONDS / seconds))
                start = time.perf_counter()
                for _ in range(count):
                    call()
                turn[index] = (time.perf_counter() - start) / count
            rounds.append(turn)
    finally:
        if collecting:
            gc.enable()
    share = (time.process_time() - running) / (time.perf_counter() - begin)
    return dict(zip(names, np.array(rounds).T, strict=True)), min(1.0, share)


def _shortest(call: Callable[[], Any]) -> float:
    """Seconds of a call, after a warm-up that has traced, compiled and filled the caches."""
    for _ in range(3):
        call()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _table(seconds: dict[str, np.ndarray], reference: str) -> pd.DataFrame:
    rows = {}
    for name, times in seconds.items():
        ratio, low, high = median_interval(times / seconds[reference])
        median, median_low, median_high = median_interval(times * 1e6)
        rows[name] = {
            "median_us": median,
            "median_low": median_low,
            "median_high": median_high,
            "p95_us": float(np.quantile(times, 0.95)) * 1e6,
            "ratio": ratio,
            "ratio_low": low,
            "ratio_high": high,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Median of independent values and its 95 % bootstrap interval ``(median, low, high)``."""
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    medians = np.median(values[draws], axis=1)
    return float(np.median(values)), *np.quantile(medians, [0.025, 0.975]).tolist()


def verdict(low: float, high: float) -> str:
    """What the interval of a ratio says: "faster" or "slower" where it is clear of 1."""
    if high < 1 - RESOLUTION:
        return "faster"
    return "slower" if low > 1 + RESOLUTION else "cannot tell"


def pick_fastest(table: pd.DataFrame, sizes: Mapping[Any, float]) -> Any:
    """The fastest target; of those that cannot be told from it the smallest, and then the first.

    The smallest median alone would name another target whenever two are about as fast.

    Args:
        table: some rows of a :class:`Comparison`'s table, or of what a stage has compared:
            ``ratio``, ``ratio_low`` and ``ratio_high``, by target name.
        sizes: target name to the size of its file, in any unit.

    Example:
        >>> pick_fastest(comparison.table.drop("slow"), {"Conv1D": 134068, "Conv2D": 134620})
        'Conv1D'
    """
    limit = table.ratio_high[table.ratio.idxmin()] * (1 + RESOLUTION)
    return min(table.index[table.ratio_low <= limit], key=lambda name: sizes[name])
