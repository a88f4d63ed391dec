"""Random models from the grammar of tests/generated, and what becomes of them.

    uv run python benchmarks/generated_models.py 10000 [--first 0] [--processes 2] [-o outcomes.csv]

Each model is thrown at one of the calls (twin, pruning, channel removal, quantization-aware
training, conversion in each mode), chosen by its seed. Prints a table of the outcomes and the
reasons for the refusals. Child processes take the models in batches; if a child dies, its current
model is recorded as "dead" and the others are unaffected.
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pandas as pd

ROOT = Path(__file__).parents[1]
BATCH = 25
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
RESULTS = ("right", "warned", "refused", "wrong", "traceback", "changed", "dead")


def run_batch(seeds: list[int]) -> list[dict]:
    """The outcomes of some seeds, in a separate process."""
    rows: list[dict] = []
    while len(rows) < len(seeds):
        left = seeds[len(rows) :]
        run = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(left)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | ONE_THREAD,  # small models are four times slower with a pool of them
        )
        rows += [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        if run.returncode and len(rows) < len(seeds):
            detail = f"exit code {run.returncode}"
            rows.append({"seed": seeds[len(rows)], "result": "dead", "detail": detail})
    return rows


def child(seeds: list[int]) -> None:
    """Print a line of JSON for each seed."""
    sys.path.insert(0, str(ROOT))
    import keras

    from tests.generated.grammar import grow
    from tests.generated.trial import ACTIONS, attempt

    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            keras.backend.clear_session()
            keras.utils.set_random_seed(seed)
            choose = random.Random(seed).choice
            model, action = grow(choose), choose(list(ACTIONS))
            outcome = attempt(action, model, Path(folder))
            row = {"seed": seed, "action": action, **vars(outcome)}
            print(json.dumps(row), flush=True)


def reason(detail: str) -> str:
    """A refusal without the names and numbers that differ from model to model."""
    detail = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\([^)]*\)", "…", detail)
    return re.sub(r"\b[\w/]*\d[\w/.]*\b", "N", detail)[:110]


@click.command()
@click.argument("count", type=int, required=False)
@click.option("--first", default=0, help="The first seed.")
@click.option("--processes", default=2)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A .csv of all outcomes; the models in it are not run again.",
)
@click.option("--child", "batch", hidden=True)
def main(
    count: int | None, first: int, processes: int, output: Path | None, batch: str | None
) -> None:
    """Print the table in docs/coverage.md."""
    if batch:
        child(json.loads(batch))
        return
    rows = pd.read_csv(output).to_dict("records") if output and output.exists() else []
    seeds = sorted({*range(first, first + count)} - {row["seed"] for row in rows})
    batches = [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]
    with ThreadPoolExecutor(processes) as pool:
        for done in pool.map(run_batch, batches):
            rows += done
            if output:
                pd.DataFrame(rows).to_csv(output, index=False)
    table = pd.DataFrame(rows)
    table["action"] = table.action.fillna("(unknown)")
    counts = pd.crosstab(table.action, table.result).reindex(columns=RESULTS, fill_value=0)
    counts.loc["all"] = counts.sum()
    print(f"| call | {' | '.join(RESULTS)} |\n|---|{'---|' * len(RESULTS)}")
    for action, row in counts.iterrows():
        print(f"| {action} | {' | '.join(map(str, row))} |")
    print("\n| models | refused because |\n|---|---|")
    refusals = Counter(map(reason, table.detail[table.result == "refused"]))
    for text, number in refusals.most_common():
        print(f"| {number} | {text} |")
    for row in table[table.result.isin(RESULTS[3:])].itertuples():
        print(f"\nseed {row.seed}: {row.action}: {row.result}: {str(row.detail)[:300]}")


if __name__ == "__main__":
    main()
