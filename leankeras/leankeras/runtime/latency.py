"""Latency as a paired ratio: every target is timed beside a reference, in the same blocks of time.

A time on its own depends on what else the machine was doing as much as on the model. Two measures
address this. Targets take turns, in a new random order each round, so that all of them see the
same machine. And the *undisturbed* latency is compared: the fastest turn of each target in every
block of a quarter of a second, when nothing interrupted it. On a shared machine the median of all
turns moves with the load, by more for a small int8 file than for a slow float one, and so does the
ratio of two medians; the fastest turns of a block stay stable (figures in docs/latency.md).

The figure is the median over blocks. Its interval is a bootstrap over blocks (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13), combined in quadrature with the
drift between one comparison and the next, which no single comparison can see (a type B
uncertainty, JCGM 100:2008, 4.3). It is larger on a virtual machine, and grows with the load on the
other cores. If a machine
changes its pace from block to block, the interval is wide.

A turn begins with calls that are not timed: otherwise a slow target, which makes few calls a turn,
would pay more for cold caches than a fast one, which makes many. The place of a file's tensors in
memory can change its latency for as long as it is loaded; so every file is loaded several times,
and the rounds cycle through the copies.
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
from leankeras.runtime.cores import CoreWatch, is_virtual
from leankeras.runtime.intervals import median_interval, verdict

SAMPLE_SECONDS = 100e-6
SAMPLES = 3  # timed one after another in a turn
UNTIMED_CALLS = 2  # the third call after another target's turn takes no longer than the tenth
LONG_CALL_SECONDS = 5e-3  # from this length on, cold caches do not matter
BLOCK_SECONDS = 0.25  # see measure_briefly
BLOCKS = 12
COPIES = 6
BUSY_CPU_SHARE = 0.2
# How far the same comparison drifts from one time and process to another, at 95 %: on a machine of
# one's own and on a virtual one, whose host serves others too; and what is added when other
# processes keep all other cores busy. Measured by benchmarks/coverage_of_intervals.py.
RATIO_DRIFT, VIRTUAL_RATIO_DRIFT, BUSY_RATIO_DRIFT = 0.02, 0.075, 0.05
TIME_DRIFT, VIRTUAL_TIME_DRIFT, BUSY_TIME_DRIFT = 0.05, 0.1, 0.1


@dataclass(frozen=True)
class Comparison:
    """Latencies of several targets, measured side by side.

    Attributes:
        table: indexed by target name; ``us``, the undisturbed latency in microseconds, with its
            95 % interval ``us_low`` and ``us_high``; ``p95_us``, the 95th percentile of the calls,
            disturbances included; ``ratio`` of the undisturbed latencies to the reference with
            its 95 % interval ``ratio_low`` and ``ratio_high`` (below 1 is faster); ``verdict``:
            "reference", "faster", "slower", or "cannot tell" if the interval contains 1 or the
            machine was too busy.
        reference: the name of the target the others are compared with.
        threads: threads given to LiteRT targets.
        blocks: number of blocks of time in which the targets were timed.
        cpu_share: share of the wall time that this process was actually running, 0 to 1; a low
            value means that other processes held the core.
        others: share of the other cores that other processes used, 0 to 1; the larger it is, the
            wider the intervals.
        load: the system's load average over the last minute, in runnable processes.
    """

    table: pd.DataFrame
    reference: str
    threads: int
    blocks: int
    cpu_share: float
    others: float
    load: float

    @property
    def busy(self) -> bool:
        """Whether other processes held the core too long for a conclusion."""
        return self.cpu_share < BUSY_CPU_SHARE

    @property
    def conditions(self) -> str:
        """The conditions of the measurement, in one line."""
        line = (
            f"{self.blocks} blocks of time, {self.threads} LiteRT thread(s), "
            f"{self.cpu_share:.0%} of its core, {self.others:.0%} of the others in use, "
            f"load {self.load:.1f}"
        )
        return f"{line}: too busy to tell" if self.busy else line

    def speedup(self, name: str) -> str:
        """How many times faster than the reference, with its interval, as text."""
        row = self.table.loc[name]
        return f"{1 / row.ratio:.3g}× [{1 / row.ratio_high:.3g}, {1 / row.ratio_low:.3g}]"

    def __str__(self) -> str:
        return f"{self.table.round(3).to_string()}\nagainst {self.reference}; {self.conditions}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.table.to_html(float_format="{:.4g}".format)
        return f"{table}<p>against {self.reference}; {self.conditions}</p>"


def measure_briefly() -> None:
    """Have this process take a fifth of the usual time for every comparison from now on.

    For runs that only check that everything works: figures get rougher and intervals wider.
    """
    global BLOCK_SECONDS
    BLOCK_SECONDS = 0.05


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
        threads: threads for LiteRT targets. Those of TensorFlow are set before it starts.

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
        for name in names if copy % 2 else reversed(names):  # the first loaded has the worst place
            if copy == 0 or is_tflite(targets[name]):
                calls[name].append(as_call(targets[name], sample, threads))
    rounds = paired_rounds(calls)
    table = _table(rounds, reference)
    busy = rounds.cpu_share < BUSY_CPU_SHARE
    table["verdict"] = [
        "reference" if name == reference else "cannot tell" if busy else verdict(low, high)
        for name, low, high in zip(table.index, table.ratio_low, table.ratio_high, strict=True)
    ]
    return Comparison(
        table=table,
        reference=reference,
        threads=threads,
        blocks=len(rounds.best[reference]),
        cpu_share=rounds.cpu_share,
        others=rounds.others,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
    )


@dataclass(frozen=True)
class Rounds:
    """The measurements of :func:`paired_rounds`.

    Attributes:
        seconds: name to the seconds per call of every timed sample.
        best: name to the shortest of them in every block.
        cpu_share: share of the wall time that this process was actually running, 0 to 1.
        others: share of the other cores that other processes used, 0 to 1.
        free_cores: cores minus the number that other processes used.
    """

    seconds: dict[Any, np.ndarray]
    best: dict[Any, np.ndarray]
    cpu_share: float
    others: float
    free_cores: float

    def ratio(self, name: Any, reference: Any) -> tuple[float, float, float]:
        """The ratio of two undisturbed latencies, and its 95 % interval ``(ratio, low, high)``."""
        if name == reference:
            return 1.0, 1.0, 1.0
        own = VIRTUAL_RATIO_DRIFT if is_virtual() else RATIO_DRIFT
        drift = float(np.hypot(own, BUSY_RATIO_DRIFT * self.others))
        return median_interval(self.best[name] / self.best[reference], drift)

    def us(self, name: Any) -> tuple[float, float, float]:
        """The undisturbed latency in microseconds, and its 95 % interval."""
        own = VIRTUAL_TIME_DRIFT if is_virtual() else TIME_DRIFT
        drift = float(np.hypot(own, BUSY_TIME_DRIFT * self.others))
        return median_interval(1e6 * self.best[name], drift)


def paired_rounds(calls: Mapping[Any, list[Callable[[], Any]]], warm: bool = True) -> Rounds:
    """Time functions in turns, block by block.

    Args:
        calls: name to copies of a function of no arguments, used in turn round by round.
        warm: whether turns begin with calls that are not timed.
    """
    shortest = {name: min(map(_shortest, copies)) for name, copies in calls.items()}
    order = np.random.default_rng(0)
    collecting = gc.isenabled()
    gc.disable()
    try:
        with CoreWatch() as cores:
            blocks = [_block(calls, shortest, order, warm) for _ in range(BLOCKS)]
    finally:
        if collecting:
            gc.enable()
    return Rounds(
        seconds={name: np.concatenate([block[name] for block in blocks]) for name in calls},
        best={name: np.array([min(block[name]) for block in blocks]) for name in calls},
        cpu_share=cores.own,
        others=cores.others,
        free_cores=cores.free,
    )


def _block(
    calls: Mapping[Any, list[Callable[[], Any]]],
    shortest: Mapping[Any, float],
    order: np.random.Generator,
    warm: bool,
) -> dict[Any, list[float]]:
    """Samples of every target from as many rounds as fit into a block, at least one."""
    names, block = list(calls), {name: [] for name in calls}
    end = time.perf_counter() + BLOCK_SECONDS
    rounds = 0
    while not rounds or time.perf_counter() < end:
        for index in order.permutation(len(names)):
            copies = calls[names[index]]
            call = copies[rounds % len(copies)]
            block[names[index]] += _turn(call, shortest[names[index]], warm)
        rounds += 1
    return block


def _turn(call: Callable[[], Any], seconds: float, warm: bool) -> list[float]:
    """Seconds per call for some samples; ``seconds`` is roughly the time of one call."""
    for _ in range(UNTIMED_CALLS if warm and seconds < LONG_CALL_SECONDS else 0):
        call()
    count = max(1, round(SAMPLE_SECONDS / seconds))
    samples = []
    for _ in range(SAMPLES if warm and seconds < LONG_CALL_SECONDS else 1):
        start = time.perf_counter()
        for _ in range(count):
            call()
        samples.append((time.perf_counter() - start) / count)
    return samples


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


def _table(rounds: Rounds, reference: str) -> pd.DataFrame:
    rows = {}
    for name in rounds.best:
        us, us_low, us_high = rounds.us(name)
        ratio, ratio_low, ratio_high = rounds.ratio(name, reference)
        rows[name] = {
            "us": us,
            "us_low": us_low,
            "us_high": us_high,
            "p95_us": 1e6 * float(np.quantile(rounds.seconds[name], 0.95)),
            "ratio": ratio,
            "ratio_low": ratio_low,
            "ratio_high": ratio_high,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")
