"""What the whole chain achieves on a case, over several seeds.

    uv run python benchmarks/seeds.py signal 0 1 2

Runs the six notebooks once per seed, in runs/seeds/, and prints the table in the README. Intervals
are those of the records, 95 %; the last row has the means of the figures.
"""

import sys

import numpy as np

from kopt.execution.chain import run_chain, select_stages
from kopt.project import RUNS
from kopt.workspace.directory import Workspace

Figures = dict[str, list[float]]


def run(case: str, seed: int) -> Figures:
    """One row: the outcome of a run, each figure with its interval where it has one."""
    workspace = Workspace(RUNS / "seeds" / f"{case}-{seed}")
    run_chain(workspace, {"case": case, "seed": seed}, select_stages(None, "06"), resume=True)
    slow, final = workspace.record("01_profile"), workspace.record("06_tflite")
    merit = final.merit
    value, *loss = merit.columns
    whole = final.table("whole").set_index("compared with").loc["slow, tf.function"]
    ratio = [1 / final.latency[name] for name in ("ratio", "ratio_high", "ratio_low")]
    return {
        f"slow {merit.axis}": [merit.shown(slow.test[value])],
        f"final {merit.axis}": [merit.shown(final.test[value])],
        f"{merit.unit} lost": [100 * final.test[name] for name in loss],
        "final kB": [final.size_bytes / 1000],
        "final µs": [final.latency[name] for name in ("us", "us_low", "us_high")],
        "speed-up in LiteRT": ratio,
        "speed-up over tf.function": whole[["times_faster", "low", "high"]].tolist(),
    }


def in_words(figures: list[float]) -> str:
    """A figure, with its interval if there is one."""
    first, *interval = (f"{figure:.3g}" for figure in figures)
    return f"{first} [{', '.join(interval)}]" if interval else first


def main(case: str, *seeds: str) -> None:
    """Print a row per seed, and the mean."""
    rows = {f"seed {seed}": run(case, int(seed)) for seed in seeds}
    columns = list(next(iter(rows.values())))
    means = {column: [np.mean([row[column][0] for row in rows.values()])] for column in columns}
    print(f"| {' | '.join(['', *columns])} |")
    print(f"| {' | '.join(['---'] * (len(columns) + 1))} |")
    for name, row in {**rows, "mean": means}.items():
        print(f"| {' | '.join([name, *(in_words(row[column]) for column in columns)])} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
