"""What a search finds, against the default run and against random search, and what it costs.

    uv run python benchmarks/search.py default signal 30 0 1 2
    uv run python benchmarks/search.py random signal 30 0 1 2
    uv run python benchmarks/search.py nothing 1000

``default`` and ``random`` take a case, the minutes of each search, and seeds; they keep what they
run in runs/search-benchmark/ and print a row for each seed. The search may lose no more on the
validation part than the default run did; the figures are on the test part, in the same blocks of
time, with 95 % intervals. ``nothing`` runs trials of no work: seconds and memory by their number.
"""

import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

import kopt
from kopt.execution.chain import run_chain, select_stages
from kopt.project import RUNS
from kopt.workspace.directory import Workspace
from kopt.workspace.stage import view_stage
from leankeras.budget import Budget
from leankeras.runtime import compare_files
from leankeras.searching import Candidate, Clock, Goal, Space, Tasks, ThisProcess, Trials, in_rounds
from leankeras.task import Task

FOLDER = RUNS / "search-benchmark"
LATENCY = ("us", "us_low", "us_high", "ratio", "ratio_low", "ratio_high")


def run_default(case: str, seed: int) -> Workspace:
    """The default run of a case, once."""
    workspace = Workspace(FOLDER / f"{case}-{seed}-default")
    parameters = {"case": case, "seed": seed}
    run_chain(workspace, parameters, select_stages(None, "06"), resume=True)
    return workspace


def run_search(case: str, minutes: float, seed: int, run: Workspace, sampler: str) -> Path:
    """The file of a search that may lose no more than the default run did."""
    record = run.record("06_tflite")
    lost = record.validation[record.merit.columns[1]]
    kind = "error_growth" if record.merit.is_error else "accuracy_loss"
    folder = FOLDER / f"{case}-{seed}-{sampler}-{minutes:g}"
    found = kopt.search(
        case,
        Budget(**{kind: lost}),
        minutes=minutes,
        seed=seed,
        sampler=sampler,
        run_dir=folder,
        resume=(folder / "search.json").exists(),
    )
    print(found, file=sys.stderr)
    return found.file


def row(case: str, seed: int, run: Workspace, reference: Path, file: Path) -> dict[str, str]:
    """A file against another, and against the slow model."""
    stage = view_stage("03_prune", case, run.path, {"case": case, "seed": seed, "quick": False})
    files = {"reference": reference, "found": file}
    table, _ = compare_files(files, stage.data, "test")
    slow, _ = compare_files({"slow": stage.file("01_profile"), **files}, stage.data, "test")
    value, lost = stage.score.columns[:2]
    this, before = table.loc["found"], table.loc["reference"]
    return {
        "score before": f"{before[value]:.4g}",
        "score found": f"{this[value]:.4g}",
        "lost, points or %": interval(100 * this[[lost, "lost_low", "lost_high"]]),
        "kB before": f"{before.size_kb:.3g}",
        "kB found": f"{this.size_kb:.3g}",
        "times faster": interval(1 / this[["ratio", "ratio_high", "ratio_low"]]),
        "than the slow model": interval(
            1 / slow.loc["found", ["ratio", "ratio_high", "ratio_low"]].astype(float)
        ),
        "before": f"{1 / slow.ratio['reference']:.3g}",
    }


def interval(figures: pd.Series) -> str:
    """A figure with its interval."""
    value, low, high = figures
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def against(other: str, case: str, minutes: str, *seeds: str) -> None:
    """Print a row per seed: the search against the default run, or against random search."""
    rows = {}
    for seed in map(int, seeds):
        run = run_default(case, seed)
        file = run_search(case, float(minutes), seed, run, "tpe")
        reference = run.models / "06_tflite.tflite"
        if other == "random":
            reference = run_search(case, float(minutes), seed, run, "random")
        rows[f"{case}, seed {seed}"] = row(case, seed, run, reference, file)
    columns = list(next(iter(rows.values())))
    print(f"| {' | '.join(['', *columns])} |")
    print(f"| {' | '.join(['---'] * (len(columns) + 1))} |")
    for name, each in rows.items():
        print(f"| {' | '.join([name, *each.values()])} |")


def nothing(count: str) -> None:
    """Print what trials of no work cost, and how much memory this process holds."""
    groups = tuple((f"conv_{number}", 64, number / 12) for number in range(12))
    epochs = {"prune": 6, "distil": 20, "qat": 6}
    space = Space(
        groups, ("float32", "dynamic", "int8"), epochs, ("a", "b"), True, 0.5, Candidate()
    )

    def width(candidate: Candidate) -> float:
        return 1 - sum(candidate.shares.values()) / len(groups)

    def untrained(shared: None, candidate: Candidate, path: Path) -> dict[str, float]:
        cost = 1000 * width(candidate) + 100
        return {"costs": [cost] * 3, "size_kb": cost / 100}

    def timed(shared: None, files: dict[str, Path]) -> pd.DataFrame:
        return pd.DataFrame(1.0, index=list(files), columns=list(LATENCY))

    def short(shared: None, candidate: Candidate, path: Path) -> dict[str, float]:
        return {"short_lost": 0.1 * (1 - width(candidate))}

    def full(shared: None, candidate: Candidate, path: Path) -> dict[str, float]:
        return {"lost": 0.05 * (1 - width(candidate)), "size_kb": 10 * width(candidate)}

    goal = Goal("fastest", Budget(accuracy_loss=0.02), Task.classification().score.merit)
    process, steps = psutil.Process(), max(1, int(count) // 5)
    print("| trials | seconds | ms a trial, of the last | MB |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder) / "journal.log", goal, space, "tpe", 0)
        began = before = time.monotonic()
        for most in range(steps, int(count) + 1, steps):
            in_rounds(
                trials,
                ThisProcess(None),
                Path(folder),
                Path(folder) / "reference.tflite",
                Clock(None),
                most,
                tasks=Tasks(untrained, timed, short, full),
            )
            now, memory = time.monotonic(), process.memory_info().rss / 1e6
            each = 1000 * (now - before) / steps
            print(f"| {most} | {now - began:.0f} | {each:.0f} | {memory:.0f} |")
            before = now


def main(what: str, *arguments: str) -> None:
    """Run one of the benchmarks."""
    if what == "nothing":
        nothing(*arguments)
    else:
        against(what, *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
