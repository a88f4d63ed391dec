"""Four points one after another, on two workers, and on two workers with shared prefixes.

    uv run python benchmarks/sweep_speedup.py signal 03

Sweeps the quick notebooks up to a stage in runs/sweep-speedup and prints seconds and ratios. In the
first two rows the points differ from 01 on (seed), in the third only from 03 on (fraction). A
single worker has all cores for each point.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial

import psutil
import yaml

from kopt.execution.sweep import run_sweep
from kopt.project import RUNS

FOLDER = RUNS / "sweep-speedup"
SEEDS = {"seed": [0, 1, 2, 3]}
FRACTIONS = {"fraction": [0.2, 0.3, 0.4, 0.5]}


def sweep(case: str, last: str, name: str, axis: dict[str, list], workers: int) -> None:
    grid = FOLDER / f"{name}.yaml"
    grid.write_text(yaml.safe_dump({"case": case, "quick": True, **axis}))
    table = run_sweep(grid, FOLDER / name, last=last, workers=workers)
    assert (table.status == "finished").all(), table.error.tolist()


def timed(work: Callable[[], None]) -> tuple[float, float, float]:
    """Seconds, cores kept busy by the work, and cores kept busy by everything else."""
    begin, busy, own = time.monotonic(), busy_seconds(), own_seconds()
    work()
    seconds = time.monotonic() - begin
    ours, everything = own_seconds() - own, busy_seconds() - busy
    return seconds, ours / seconds, (everything - ours) / seconds


def busy_seconds() -> float:
    """Busy seconds of all cores since the machine was started."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def own_seconds() -> float:
    """Busy seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def main(case: str, last: str) -> None:
    """Print a row for each way, with its time relative to the first."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    ways = [
        ("one worker", SEEDS, 1),
        ("two workers", SEEDS, 2),
        ("two workers, shared prefix", FRACTIONS, 2),
    ]
    first = None
    print("| | seconds | ratio | cores busy with this | cores busy with others |")
    print("|---|---|---|---|---|")
    for name, axis, workers in ways:
        seconds, ours, others = timed(partial(sweep, case, last, name, axis, workers))
        first = first or seconds
        print(f"| {name} | {seconds:.0f} | {seconds / first:.2f} | {ours:.1f} | {others:.1f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
