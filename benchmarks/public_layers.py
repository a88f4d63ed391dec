"""The diagnosis of every layer from public code that docs/diagnosis.md counts.

Run ``uv run python benchmarks/public_layers.py``; it takes about four minutes, prints a line for
each layer whose findings are not those of the page, and ends with 1 if there was one.
"""

import sys
from pathlib import Path

from leankeras.diagnosis.diagnosis import diagnose

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.layers.public import PUBLIC


def main() -> int:
    different = 0
    for layer in PUBLIC:
        samples = layer.samples() if layer.samples else None
        findings = diagnose(layer.make(), layer.shape, samples).findings
        found = {finding.rule: finding.severity for finding in findings}
        if found != layer.expected:
            different += 1
            print(f"{layer.source}: found {found}, expected {layer.expected}", flush=True)
    print(f"{len(PUBLIC) - different} of {len(PUBLIC)} layers as on the page")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
