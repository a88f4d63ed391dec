"""Masks in attention: int8 keeps the scores, whatever stands for minus infinity."""

import keras
import numpy as np
import pytest

from leankeras.conversion.masks import DEPTH, limit_masks
from leankeras.conversion.tflite import convert
from leankeras.conversion.tflite_graph import BUILTIN, TFLiteGraph

layers, ops = keras.layers, keras.ops
TIME, WIDTH = 8, 6
CAUSAL = np.tril(np.ones((TIME, TIME), "float32"))
DISTANCE = 0.3 * np.abs(np.arange(TIME)[:, None] - np.arange(TIME)).astype("float32")
random = np.random.default_rng(0)


def samples() -> dict[str, np.ndarray]:
    length = random.integers(3, TIME + 1, (40, 1))
    return {
        "x": random.normal(size=(40, TIME, WIDTH)).astype("float32"),
        "mask": (np.arange(TIME) < length).astype("float32"),
    }


SAMPLES = samples()


def attention(weigh) -> keras.Model:
    """A model of two inputs whose scores ``weigh`` turns into weights."""
    keras.utils.set_random_seed(0)
    x, mask = keras.Input((TIME, WIDTH), name="x"), keras.Input((TIME,), name="mask")
    query, key, value = (layers.Dense(WIDTH, name=name)(x) for name in ("q", "k", "v"))
    scores = 2.0 * ops.matmul(query, ops.transpose(key, (0, 2, 1)))
    weights = weigh(scores, ops.expand_dims(mask, 1))
    outputs = layers.Dense(3, name="head")(ops.matmul(weights, value))
    return keras.Model({"x": x, "mask": mask}, outputs, name="net")


MASKED = {
    "where -1e9": lambda s, m: ops.softmax(ops.where(CAUSAL > 0, s, -1e9)),
    "where float's smallest": lambda s, m: ops.softmax(
        ops.where(CAUSAL > 0, s, float(np.finfo("float32").min))
    ),
    "where -inf": lambda s, m: ops.softmax(ops.where(CAUSAL > 0, s, -np.inf)),
    "half's smallest": lambda s, m: ops.softmax(s + np.float32((1 - CAUSAL) * -65504)),
    "-1e4": lambda s, m: ops.softmax(s + np.float32((1 - CAUSAL) * -1e4)),
    "a product": lambda s, m: ops.softmax(s * CAUSAL + np.float32((1 - CAUSAL) * -1e9)),
    "an input": lambda s, m: ops.softmax(s + (1.0 - m) * -1e9),
    "an input, subtracted": lambda s, m: ops.softmax(s - (1.0 - m) * 1e9),
    "an input less one": lambda s, m: ops.softmax(s + (m - 1.0) * 1e9),
    "an input in a sum": lambda s, m: ops.softmax(s + (m * 1e9 - 1e9)),
    "an input in where": lambda s, m: ops.softmax(s + ops.where(m > 0, 0.0, -1e9)),
    "two of them": lambda s, m: ops.softmax(s + (1.0 - m) * -1e9 + np.float32((CAUSAL - 1) * 1e9)),
    "their minimum": lambda s, m: ops.softmax(
        s + ops.minimum((1.0 - m) * -1e9, np.float32((CAUSAL - 1) * 1e9))
    ),
    "before a scale": lambda s, m: ops.softmax((s + np.float32((CAUSAL - 1) * 1e9)) * 0.5),
    "with a bias": lambda s, m: ops.softmax(s + np.where(CAUSAL > 0, -DISTANCE, np.float32(-1e9))),
    "a sigmoid": lambda s, m: ops.sigmoid(s + np.float32((CAUSAL - 1) * 1e9)),
    "the Softmax layer": lambda s, m: layers.Softmax()(s, mask=CAUSAL[None] > 0),
    "shared by two": lambda s, m: (
        ops.softmax(s + (1.0 - m) * -1e9) + ops.softmax(0.5 * s + (1.0 - m) * -1e9)
    ),
}


@pytest.mark.parametrize("kind", MASKED)
def test_int8_keeps_what_is_not_masked(kind, tmp_path):
    model = attention(MASKED[kind])
    # a comparison of floats has no int8 form; not what this test is about
    kept = ["Greater"] if kind == "an input in where" else []
    conversion = convert(model, tmp_path / "a.tflite", "int8", SAMPLES, keep_float=kept)
    assert conversion.difference < 0.08
    assert conversion.warning is None


@pytest.mark.parametrize("mode", ["float32", "float16", "dynamic"])
def test_the_other_modes_are_right_as_they_are(mode, tmp_path):
    model = attention(MASKED["an input"])
    assert convert(model, tmp_path / "a.tflite", mode, SAMPLES).difference < 2e-3


def calibrated(build) -> TFLiteGraph:
    """A graph of what ``build`` adds to an empty one, with an input and an output."""
    graph = TFLiteGraph(build)
    return graph


def mask_in(path) -> float:
    """The deepest constant of a file, in its own scale."""
    file = TFLiteGraph(path.read_bytes())
    lows = [
        (-128 - int(t.quantization.zeroPoint[0])) * float(t.quantization.scale[0])
        for t in file.tensors
        if t.quantization is not None
        and t.quantization.scale is not None
        and len(t.quantization.scale) == 1
    ]
    return min(lows)


def test_the_mask_goes_as_deep_as_it_has_to(tmp_path):
    path = convert(attention(MASKED["-1e4"]), tmp_path / "a.tflite", "int8", SAMPLES).path
    assert -200 < mask_in(path) < -DEPTH


KEPT = {
    "the scores are an output": lambda s, m: s + np.float32((CAUSAL - 1) * 1e4),
    "a softmax written out": lambda s, m: (lambda t: ops.exp(t - ops.max(t, -1, keepdims=True)))(
        s + np.float32((CAUSAL - 1) * 1e4)
    ),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_may_be_more_than_a_mask_is_left_alone(kind, tmp_path):
    """The graph before calibration's ranges are used is the one that comes out."""
    model = attention(KEPT[kind])
    path = convert(model, tmp_path / "a.tflite", "float32", SAMPLES).path
    graph = TFLiteGraph(path.read_bytes())
    values = {index: (-1e4, 20.0) for op in graph.operators for index in op.outputs}
    graph.range = lambda tensor: values.get(tensor, (-20.0, 20.0))
    limit_masks(graph)
    assert not graph.changed
    assert BUILTIN.ADD in {graph.kind(operator) for operator in graph.operators}
