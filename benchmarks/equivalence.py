"""How check_equivalence judges the right and the wrong rewrites in tests/layers.

    python benchmarks/equivalence.py

Prints the two tables in docs/diagnosis.md: the verdicts with and without samples, and how many of
the wrong rewrites each kind of input exposes on its own. Takes about five minutes.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections import Counter, defaultdict

import keras
import numpy as np

import kopt
from tests.layers import FUNCTIONS, PATTERNS

KINDS = ("zeros", "ones", "small", "sparse", "large", "random")


def samples_of(owner):
    rng = np.random.default_rng(0)
    if hasattr(owner, "samples"):
        return owner.samples(rng)
    return rng.normal(size=(8, *owner.input_shape)).astype("float32")


def verdicts(owner, make, port):
    for given, samples in (("without", None), ("with", samples_of(owner))):
        keras.utils.set_random_seed(0)
        yield (
            given,
            kopt.check_equivalence(
                owner.slow(), make(), owner.input_shape, port=port, samples=samples
            ),
        )


def main() -> None:
    counts, shown, seen = defaultdict(Counter), Counter(), 0
    for owner in (*PATTERNS, *FUNCTIONS):
        for side in ("right", "wrong"):
            for make, port in getattr(owner, side).values():
                for given, result in verdicts(owner, make, port):
                    counts[side, given][result.verdict] += 1
                    if side == "wrong" and given == "without" and len(result.probes):
                        outputs = result.probes[result.probes.compared.str.startswith("output")]
                        failed = outputs[~outputs.equal].probe
                        shown.update(kind for kind in KINDS if (failed == kind).any())
                        seen += result.verdict == "not equivalent"
    print("| rewrites | samples | equivalent | cannot tell | not equivalent |")
    print("|---|---|---|---|---|")
    for (side, given), by in counts.items():
        row = [str(by[verdict]) for verdict in ("equivalent", "cannot tell", "not equivalent")]
        print(f"| {by.total()} {side} | {given} | {' | '.join(row)} |")
    print(f"\nof {seen} wrong ones: " + ", ".join(f"{kind} {shown[kind]}" for kind in KINDS))


if __name__ == "__main__":
    main()
