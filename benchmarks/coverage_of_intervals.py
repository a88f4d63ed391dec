"""Does the interval of a latency contain the result of the next comparison?

    uv run python benchmarks/coverage_of_intervals.py slow.tflite fast.tflite [--minutes 20]

The two files are compared again and again over the given minutes, each time in a fresh process:
in turn on the machine as it is, with one busy neighbour (which runs convolutions) and with two.
Each row of the table says how many of the 95 % intervals contain the median of all comparisons of
its kind, and how wide they are.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import click
import numpy as np
import pandas as pd

COMPARE = """
import json, sys
from leankeras.runtime import compare_latency, random_sample
slow, fast = sys.argv[1:]
table = compare_latency({"slow": slow, "fast": fast}, random_sample(slow)).table
print(json.dumps(table.drop(columns="verdict").loc[["slow", "fast"]].to_dict("index")))
"""


def convolve() -> None:
    """Keep a core busy as training does."""
    import tensorflow as tf

    import leankeras  # noqa: F401 (keeps TensorFlow quiet when it starts)

    tf.config.threading.set_intra_op_parallelism_threads(1)
    images, kernel = tf.random.normal((8, 64, 64, 32)), tf.random.normal((3, 3, 32, 64))
    step = tf.function(lambda: tf.reduce_sum(tf.nn.conv2d(images, kernel, 1, "SAME")))
    while True:
        step()


def sort() -> None:
    """Keep a core busy with memory rather than arithmetic."""
    numbers = np.random.default_rng(0).random(1_000_000)
    while True:
        np.sort(numbers)


MACHINES = ("as it is", "one neighbour", "two neighbours")
WARM_UP_SECONDS = 15  # until the neighbours are busy


@contextmanager
def busy(neighbours: Sequence[BaseProcess]) -> Iterator[None]:
    """Let stopped processes run in the meantime."""
    for process in neighbours:
        os.kill(process.pid, signal.SIGCONT)
    try:
        yield
    finally:
        for process in neighbours:
            os.kill(process.pid, signal.SIGSTOP)


def compare(slow: Path, fast: Path) -> dict[str, float]:
    """One comparison in a fresh process: ratio and the two latencies, with their intervals."""
    run = subprocess.run(
        [sys.executable, "-c", COMPARE, str(slow), str(fast)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(run.stdout)
    speedup = {f"{end}": 1 / rows["fast"][f"ratio{end}"] for end in ("", "_high", "_low")}
    return {
        "speedup": speedup[""],
        "speedup_low": speedup["_high"],
        "speedup_high": speedup["_low"],
        **{f"slow_{key}": rows["slow"][key] for key in ("us", "us_low", "us_high")},
        **{f"fast_{key}": rows["fast"][key] for key in ("us", "us_low", "us_high")},
    }


def covered(table: pd.DataFrame, figure: str) -> tuple[str, str]:
    """The figure's median and range, and how many intervals contain it and how wide they are."""
    suffix = "" if figure == "speedup" else "_us"
    values = table[figure + suffix]
    low, high = (table[f"{figure}{suffix}_{end}"] for end in ("low", "high"))
    middle = values.median()
    inside = ((low <= middle) & (middle <= high)).mean()
    width = ((high - low) / 2 / values).median()
    said = f"{middle:.3g} ({values.min():.3g} to {values.max():.3g})"
    return said, f"{inside:.0%}, ± {width:.1%}"


@click.command()
@click.argument("slow", type=click.Path(path_type=Path, exists=True))
@click.argument("fast", type=click.Path(path_type=Path, exists=True))
@click.option("--minutes", default=20.0)
@click.option("--comparisons", default=60, help="Comparisons of each kind.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A .csv of all comparisons.")
def main(slow: Path, fast: Path, minutes: float, comparisons: int, output: Path | None) -> None:
    """Print the table in docs/latency.md."""
    spawn = multiprocessing.get_context("spawn")
    neighbours = [spawn.Process(target=work, daemon=True) for work in (convolve, sort)]
    for process in neighbours:
        process.start()
    time.sleep(WARM_UP_SECONDS)
    with busy(neighbours):
        pass
    rows, begin = [], time.monotonic()
    for number in range(comparisons):
        time.sleep(max(0, begin + 60 * minutes * number / comparisons - time.monotonic()))
        for count, machine in enumerate(MACHINES):
            with busy(neighbours[:count]):
                rows.append({"machine": machine} | compare(slow, fast))
    for process in neighbours:
        process.kill()
    table = pd.DataFrame(rows)
    if output:
        table.to_csv(output, index=False)
    print(
        "| machine | speed-up | contained, ± | slow, µs | contained, ± | fast, µs | contained, ± |"
    )
    print("|---|---|---|---|---|---|---|")
    for machine, kind in table.groupby("machine", sort=False):
        cells = [cell for figure in ("speedup", "slow", "fast") for cell in covered(kind, figure)]
        print(f"| {machine} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
