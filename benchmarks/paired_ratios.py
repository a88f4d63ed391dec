"""Can the ratios be trusted? The same model against itself, and two models three times over.

    uv run python benchmarks/paired_ratios.py

Once on the machine as it is, once with one core kept busy by another process.
"""

import multiprocessing
import tempfile
from pathlib import Path

from kopt.cases.catalogue import find_case
from leankeras.conversion import convert
from leankeras.rewriting import replace_layers
from leankeras.runtime import compare_latency


def spin() -> None:
    """Keep a core busy."""
    while True:
        pass


def measure(label: str, targets: dict, sample) -> None:
    """Three comparisons in a row, one line of the table each."""
    for repetition in range(3):
        comparison = compare_latency(targets, sample)
        for name, row in comparison.table.iloc[1:].iterrows():
            interval = f"{row.ratio:.3f} [{row.ratio_low:.3f}, {row.ratio_high:.3f}]"
            print(
                f"| {label} | {repetition + 1} | {name} | {interval} | {row.verdict} "
                f"| {comparison.cpu_share:.0%} |"
            )


def main() -> None:
    """Print the table of the docs."""
    case = find_case("signal")
    slow, sample = case.build(), case.load().x_test[:1]
    fast = replace_layers(slow, case.slow_layer, case.rewrites[0])
    with tempfile.TemporaryDirectory() as folder:
        files = {
            name: convert(model, Path(folder, f"{name}.tflite"), mode="float32").path
            for name, model in {"slow": slow, "fast": fast}.items()
        }
        targets = {"slow": files["slow"], "slow again": files["slow"], "fast": files["fast"]}
        print("| machine | run | target | ratio to slow | verdict | share of the core |")
        print("|---|---|---|---|---|---|")
        measure("as it is", targets, sample)
        busy = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
        busy.start()
        measure("one core busy", targets, sample)
        busy.kill()


if __name__ == "__main__":
    main()
