"""What `rewrite` makes of slow layers, beside the right rewrite by hand.

    python benchmarks/rewrites.py > docs/rewrites.md
    python benchmarks/rewrites.py "filter loop" "hand-written GRU"      (these rows alone)

Every rewrite is checked to be equivalent at the size it is measured at. A speed-up is the time of
the slow layer divided by that of the rewrite, measured in pairs, with its 95 % interval.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kopt
from kopt.cases import signal, stream, vision
from leankeras.equivalence import Callee
from leankeras.rewriting.measurement import as_model
from leankeras.rewriting.rewriting import Restricted
from tests.layers import PATTERNS, WELL_WRITTEN
from tests.layers.faulty import Noise, PlainVariable, PythonFunction
from tests.layers.public import PUBLIC
from tests.layers.repeated import REPEATED

HEAD = """# What rewriting a slow layer gains

From `python benchmarks/rewrites.py`. `kopt.rewrite` was given each layer as it is; beside it is the
right rewrite by hand, where there is one. All of them passed `kopt.check_equivalence` at the size
measured. A speed-up is the time of the slow layer divided by that of the rewrite at batch 1 on one
thread, measured in pairs, with its 95 % interval; an interval that contains 1 shows no difference.
Nodes are the operations that depend on the input, and LiteRT operators those in the file, both of
the slow layer and of what `rewrite` made. Seconds are those that `rewrite` took, with tracing,
conversion, measuring and proof. The layers are in `kopt/cases` and `tests/layers`.

| layer | input | becomes | nodes | LiteRT operators | LiteRT by hand | LiteRT, `rewrite` | tf.function by hand | tf.function, `rewrite` | seconds |
|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501
NOTES = """
## What it makes

- **One of Keras's own layers, where there is one.** A recurrence written by hand becomes
  `SimpleRNN`, `GRU` (with the reset before or after the product) or `LSTM`, whether each gate has
  weights of its own or all share one, with biases or without, forwards or backwards in time, and
  also where the input and the state are put side by side first. Which gate is which is found by
  trying the orders on values, then proved. What only looks alike, such as an update gate that works
  the other way round or a peephole, becomes a program.
- **Models inside models.** `rewrite(model)` reaches the layers of a Functional or Sequential model
  inside another and the layer of a `TimeDistributed`. Of layers that compute the same with other
  weights, such as the blocks of a stack, one is searched and proved; for each of the others the
  traced graph has to be identical and the outputs have to agree.
- **Masks.** Where a stock layer would treat a Keras mask differently from the old layer, it is
  given only where no mask arrives; behind `Masking` or `Embedding(mask_zero=True)` the model gets a
  program.
- **Training.** A layer that trains differently (dropout, statistics that move, a loss of its own, a
  regularizer or a constraint) is refused unless `for_inference=True`, and one whose weights are
  frozen stays frozen.
- **Forecasts.** The diagnosis in 01 asks the same rule as `rewrite`: what it says can be merged is
  merged. Whether that is faster, only a measurement tells.
"""
REFUSED = """
## What it refuses

| layer | what it says |
|---|---|
"""


@dataclass
class Row:
    name: str
    slow: keras.Layer
    shape: Any
    hand: tuple[keras.Layer, Any] | None = None


def rows() -> list[Row]:
    found = []
    for case, layer, shape in (
        (signal.CASE, signal.CustomConv(64, 5), (64, 32)),
        (vision.CASE, vision.SpatialAttention(5), (7, 7, 48)),
        (stream.CASE, stream.SteppedLSTM(48), (29, 32)),
    ):
        inputs = keras.Input(shape)
        keras.Model(inputs, layer(inputs))
        by_hand = case.rewrites[-1] if case.name == "stream" else case.rewrites[0]
        found.append(Row(f"case {case.name}", layer, shape, (by_hand.make(layer), by_hand.port)))
    for each in PATTERNS:
        make, port = next(iter(each.right.values()))
        hand = make(**each.real_sizes), port
        found.append(Row(each.name, each.slow(**each.real_sizes), each.real_shape, hand))
    for each in REPEATED:
        hand = each.make(**each.real_sizes), each.port
        found.append(Row(each.name, each.slow(**each.real_sizes), each.real_shape, hand))
    chosen = ("MMoE", "CapsNet-Keras", "CIN", "LocallyConnected1D", "Neural Turing", "GRU-D",
              "BilinearInteraction", "FEFM", "hypernetworks", "attention_keras", "SRU",
              "Kalman", "Viterbi", "RoiPooling", "TCN", "TabNet", "farthest point")  # fmt: skip
    found += [
        Row(each.source.replace("several repositories", "others"), each.make(), each.shape)
        for each in PUBLIC
        if any(name in each.source for name in chosen)
    ]
    found += [Row(cls.__name__, cls(), shape) for cls, shape in WELL_WRITTEN]
    found += [Row(cls.__name__, cls(), (6, 4)) for cls in (PythonFunction, PlainVariable, Noise)]
    return found


def measured(row: Row) -> str:
    start = time.perf_counter()
    found = kopt.rewrite(row.slow, row.shape)
    seconds = time.perf_counter() - start
    layers = {"slow": row.slow, "rewrite": found.layer}
    if row.hand:
        layers["hand"], port = row.hand
        checked = kopt.check_equivalence(row.slow, layers["hand"], row.shape, port=port)
        if not checked.equivalent:
            raise SystemExit(f"{row.name}: {checked!r}")
    shapes = row.shape if isinstance(row.shape, list) else [row.shape]
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(1, *shape)).astype("float32") for shape in shapes]
    models = {
        name: as_model(
            layer if isinstance(layer, keras.Model) else Restricted(_callee(layer, row)),
            arrays,
            lambda called, inputs: called(inputs[0] if len(inputs) == 1 else inputs),
        )
        for name, layer in layers.items()
    }
    sample = arrays[0] if len(arrays) == 1 else arrays
    compiled = kopt.compare_latency(models, sample)
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch, f"{name}.tflite") for name in models}
        operators = {
            name: len(kopt.convert(model, files[name], "float32").operators)
            for name, model in models.items()
        }
        lite = kopt.compare_latency(files, sample)
    kind = type(found.layer).__name__
    return "| " + " | ".join(
        [
            row.name,
            " + ".join("×".join(map(str, shape)) for shape in shapes),
            kind if kind != "Program" else "a program",
            f"{found.nodes[0]} → {found.nodes[1]}",
            f"{operators['slow']} → {operators['rewrite']}",
            *(
                comparison.speedup(name) if name in layers else "–"
                for comparison in (lite, compiled)
                for name in ("hand", "rewrite")
            ),
            f"{seconds:.0f}",
        ]
    ) + " |"  # fmt: skip


def _callee(layer: keras.Layer, row: Row) -> Callee:
    callee = Callee("layer", layer, row.shape)
    callee.spread = callee.may_spread
    return callee


def main(chosen: list[str]) -> None:
    refused = []
    if not chosen:
        print(HEAD, end="")
    for row in rows():
        if chosen and row.name not in chosen:
            continue
        try:
            print(measured(row), flush=True)
        except kopt.RewriteError as error:
            refused.append(f"| {row.name} | {str(error).replace('|', 'or')} |")
            print(refused[-1], file=sys.stderr, flush=True)
    print(NOTES + REFUSED + "\n".join(refused) if not chosen else "\n".join(refused))


if __name__ == "__main__":
    main(sys.argv[1:])
