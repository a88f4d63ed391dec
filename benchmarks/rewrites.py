"""What the right rewrite of each pattern gains, in tf.function and in LiteRT.

    python benchmarks/rewrites.py > docs/rewrites.md

Each rewrite is checked to be equivalent at the size it is measured at. A speed-up is the time of
the slow layer divided by that of the rewrite, measured in pairs, with its 95 % interval.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np

import kopt
from leankeras.diagnosis import diagnose
from tests.layers import PATTERNS, Pattern

HEAD = """# What rewriting a slow layer gains

From `python benchmarks/rewrites.py`. Every rewrite passed `kopt.check_equivalence` at the size
measured. A speed-up is the time of the slow layer divided by that of its rewrite at batch 1 on one
thread, measured in pairs, with its 95 % interval; an interval that contains 1 shows no difference.
Nodes are counted in the graph at batch 1. The layers are in `tests/layers`.

| pattern | input | nodes | rewrite | nodes | tf.function | LiteRT |
|---|---|---|---|---|---|---|
"""


def as_model(layer: keras.Layer, shape: tuple[int, ...]) -> keras.Model:
    if isinstance(layer, keras.Model):
        return layer
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


def row(pattern: Pattern, name: str) -> str:
    make, port = pattern.right[name]
    slow, fast = pattern.slow(**pattern.real_sizes), make(**pattern.real_sizes)
    checked = kopt.check_equivalence(slow, fast, pattern.real_shape, port=port)
    if not checked.equivalent:
        raise SystemExit(f"{pattern.name}, {name}: {checked!r}")
    models = {
        "slow": as_model(slow, pattern.real_shape),
        "fast": as_model(fast, pattern.real_shape),
    }
    sample = np.random.default_rng(0).normal(size=(1, *pattern.real_shape)).astype("float32")
    compiled = kopt.compare_latency(models, sample)
    nodes = {key: diagnose(model).observed["graph nodes"] for key, model in models.items()}
    with tempfile.TemporaryDirectory() as scratch:
        files = {key: Path(scratch, f"{key}.tflite") for key in models}
        for key, model in models.items():
            kopt.convert(model, files[key], "float32")
        lite = kopt.compare_latency(files, sample)
    shape = "×".join(str(size) for size in pattern.real_shape)
    return (
        f"| {pattern.name} | {shape} | {nodes['slow']} | {name} | {nodes['fast']} "
        f"| {compiled.speedup('fast')} | {lite.speedup('fast')} |"
    )


def main() -> None:
    print(HEAD, end="")
    for pattern in PATTERNS:
        for name in pattern.right:
            print(row(pattern, name), flush=True)


if __name__ == "__main__":
    main()
