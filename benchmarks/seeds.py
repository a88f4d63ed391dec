"""What the whole chain achieves on a case, over several seeds.

    uv run python benchmarks/seeds.py signal 0 1 2

Runs the six notebooks once per seed, in runs/seeds/, and prints the table in the README.
"""

import sys

import pandas as pd

from kopt.execution.chain import run_chain
from kopt.project import RUNS
from kopt.workspace.directory import Workspace


def run(case: str, seed: int) -> dict[str, float]:
    """One row: the outcome of a run."""
    workspace = Workspace(RUNS / "seeds" / f"{case}-{seed}")
    run_chain(workspace, {"case": case, "seed": seed}, resume=True)
    slow, *_, final = workspace.records()
    whole = final.table("whole").set_index("target").times_faster
    return {
        "slow accuracy, %": 100 * slow.test["accuracy"],
        "final accuracy, %": 100 * final.test["accuracy"],
        "points lost": 100 * final.test["accuracy_lost"],
        "lost, low": 100 * final.test["lost_low"],
        "lost, high": 100 * final.test["lost_high"],
        "final kB": final.size_bytes / 1000,
        "final µs": final.latency["us"],
        "speed-up in LiteRT": 1 / final.latency["ratio"],
        "speed-up over tf.function": whole["slow, tf.function"],
    }


def main(case: str, *seeds: str) -> None:
    """Print a row per seed, and the mean."""
    table = pd.DataFrame({f"seed {seed}": run(case, int(seed)) for seed in seeds}).T
    table.loc["mean"] = table.mean()
    lines = [
        ["", *table.columns],
        ["---"] * (len(table.columns) + 1),
        *(
            [name, *(f"{value:.3g}" for value in row)]
            for name, row in zip(table.index, table.to_numpy(), strict=True)
        ),
    ]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
