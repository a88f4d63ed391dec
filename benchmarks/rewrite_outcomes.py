"""What rewrite makes of many layers, and whether any of it is wrong.

    python benchmarks/rewrite_outcomes.py public    the layers from public code in tests/layers
    python benchmarks/rewrite_outcomes.py mutants   the wrong rewrites in tests/layers

Prints a line for each layer and then the counts. No latency is measured: every draft counts as
faster, so that more of them are given. What is given is held against the layer it was made from by
other means than `check_equivalence`: other random weights and inputs, and a batch of another size,
both layers called eagerly. Ends with 1 if a wrong layer was given, or if
anything but a RewriteError was raised.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from leankeras.equivalence import Callee, flat_shapes
from leankeras.errors import RewriteError
from leankeras.rewriting.rewriting import Rewriting, rewrite_layer
from tests.layers import FUNCTIONS, PATTERNS
from tests.layers.public import PUBLIC
from tests.leankeras.rewriting.trying import first_is_fastest

BATCH = 4
NEAR = 2e-3


def public() -> Iterator[tuple[str, Any, Any, Any]]:
    for each in PUBLIC:
        yield each.source, each.make, each.shape, each.samples


def mutants() -> Iterator[tuple[str, Any, Any, Any]]:
    for owner in (*PATTERNS, *FUNCTIONS):
        for mistake, (make, _) in owner.wrong.items():
            given = getattr(owner, "samples", None)
            samples = (lambda given=given: given(np.random.default_rng(1))) if given else None
            yield f"{owner.name}: {mistake}", make, owner.input_shape, samples


def farthest(layer: keras.Layer, found: Rewriting, shape: Any, samples: Any) -> float:
    """The largest difference of outputs, in units of the largest output."""
    random = np.random.default_rng(5)
    for weight in layer.weights:
        value = np.asarray(weight)
        if value.dtype.kind == "f":
            weight.assign(value + 0.3 * random.normal(size=value.shape))
    found.port(layer, found.layer)
    if samples is None:
        arrays = [random.normal(size=(BATCH, *each)).astype("float32")
                  for each in flat_shapes(shape)]  # fmt: skip
    else:
        arrays = [np.asarray(each)[:BATCH] for each in keras.tree.flatten(samples())]
    old = Callee("slow", layer, shape)
    old.spread = old.may_spread
    pairs = zip(old(arrays), Callee("fast", found.layer, shape)(arrays), strict=True)
    return max(
        float(np.max(np.abs(np.subtract(*pair)), initial=0) / (1 + np.max(np.abs(pair[0]))))
        for pair in ((np.asarray(a, "float64"), np.asarray(b, "float64")) for a, b in pairs)
    )


def outcome(make: Any, shape: Any, samples: Any) -> tuple[str, str]:
    keras.utils.set_random_seed(0)
    layer = make()
    try:
        found = rewrite_layer(layer, shape, measure=first_is_fastest)
    except RewriteError as error:
        return ("nothing to gain" if "nothing to gain" in str(error) else "refused"), str(error)
    except Exception as error:  # what must not happen, reported with the rest
        return "ERROR", f"{type(error).__name__}: {error}"
    difference = farthest(layer, found, shape, samples)
    verdict = "rewritten" if difference < NEAR else "WRONG"
    made = type(found.layer).__name__
    return verdict, f"{found.nodes[0]} -> {found.nodes[1]} {made}, off by {difference:.0e}"


def main(group: str) -> int:
    counts: Counter[str] = Counter()
    for name, make, shape, samples in {"public": public, "mutants": mutants}[group]():
        start = time.perf_counter()
        verdict, words = outcome(make, shape, samples)
        counts[verdict] += 1
        print(f"{verdict:16}{name} ({time.perf_counter() - start:.0f} s): {words}", flush=True)
        keras.backend.clear_session()
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return int(bool(counts["WRONG"] or counts["ERROR"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
