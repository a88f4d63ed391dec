"""The rewritten file computes the same, and quantizes where the original did not."""

import keras
import numpy as np
import pytest

from leankeras.conversion.legalization import legalize
from leankeras.conversion.tflite import convert
from leankeras.conversion.tflite_graph import TFLiteGraph
from leankeras.runtime.flatbuffer import TFLiteFile
from leankeras.runtime.litert import LiteRTModel

SAMPLES = np.random.default_rng(0).normal(size=(16, 8, 4)).astype("float32")


def split(x):
    parts = keras.ops.split(x, 4, axis=-1)
    return keras.ops.concatenate([parts[0], parts[2]], axis=-1)


CASES = {
    "NEG": (lambda x: keras.ops.negative(keras.ops.relu(x)), {"RELU", "MUL"}),
    "SQUARE": (keras.ops.square, {"MUL"}),
    "REVERSE_V2": (lambda x: keras.ops.flip(x, 1), {"GATHER"}),
    "SPLIT": (split, {"SLICE", "CONCATENATION"}),
}


@pytest.mark.parametrize("kind", CASES)
def test_the_same_function_without_the_operator(kind, tmp_path):
    function, expected = CASES[kind]
    inputs = keras.Input((8, 4))
    model = keras.Model(inputs, function(inputs))
    path = convert(model, tmp_path / "model.tflite", "float32").path
    assert kind in TFLiteFile(path).kinds
    before = LiteRTModel(path)(SAMPLES)
    graph = TFLiteGraph(path.read_bytes())
    legalize(graph)
    path.write_bytes(graph.pack())
    assert set(TFLiteFile(path).kinds) == expected
    assert np.array_equal(LiteRTModel(path)(SAMPLES), before)


def test_a_file_without_them_is_not_touched(converted):
    graph = TFLiteGraph(converted["int8"].path.read_bytes())
    legalize(graph)
    assert graph.pack() is graph.content


def test_reversal_of_a_quantized_sum_keeps_its_values(tmp_path):
    inputs = keras.Input((8, 4))
    keras.utils.set_random_seed(2)
    large = keras.layers.Dense(4, name="large")(inputs)
    small = keras.ops.flip(0.1 * keras.layers.Dense(4)(inputs), 1)
    model = keras.Model(inputs, keras.layers.Concatenate()([10.0 * large, small]))
    path = convert(model, tmp_path / "model.tflite", "int8", SAMPLES).path
    expected = np.asarray(model(SAMPLES))
    step = np.ptp(expected) / 255
    assert np.abs(LiteRTModel(path)(SAMPLES) - expected).max() < 6 * step
