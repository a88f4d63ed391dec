import keras
import numpy as np

from leankeras.conversion.tflite import convert
from leankeras.data import Data
from leankeras.quantization import exemptions
from leankeras.quantization.exemptions import find_exemptions
from leankeras.quantization.layer_error import quantization_error
from leankeras.runtime.flatbuffer import TFLiteFile


def classifier(damage):
    """A small network, damaged by a function of it, and data that it classifies with ease."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = keras.layers.Dense(16, activation="tanh", name="sound")(inputs)
    x = keras.layers.Dense(16, activation="tanh", name="scaled")(x)
    outputs = keras.layers.Dense(4, name="head")(x)
    model = keras.Model(inputs, outputs, name="net")
    damage(model)
    x = np.random.default_rng(0).normal(size=(1000, 8)).astype("float32")
    second, first = np.sort(np.asarray(model(x)), axis=-1)[:, -2:].T
    x = x[np.argsort(second - first)[:500]]
    x = np.random.default_rng(1).permutation(x)
    y = np.asarray(model(x)).argmax(axis=-1)
    parts = np.split(np.arange(500), [100, 200])
    return model, Data(*(array[part] for part in parts for array in (x, y)))


def leave_alone(model):
    """No damage."""


def scale_badly(model):
    """One unit of ``scaled`` a hundred times the others, which vanish in its int8 steps."""
    kernel, bias = model.get_layer("scaled").get_weights()
    kernel[:, 0] *= 100
    model.get_layer("scaled").set_weights([kernel, bias])


def scale_between_layers(model):
    """The same, but the steps are those of a result that the next layer reads."""
    scale_badly(model)
    model.get_layer("scaled").activation = keras.activations.linear
    kernel, bias = model.get_layer("head").get_weights()
    kernel[0] = 0
    model.get_layer("head").set_weights([kernel, bias])


def search(damage, folder, candidates=None):
    model, data = classifier(damage)
    exact = convert(model, folder / "float32.tflite", "float32")
    quantized = convert(model, folder / "int8.tflite", "int8", data.x_train)
    errors = quantization_error(exact, quantized, data.x_test)
    if candidates:
        errors = errors.loc[candidates]
    return quantized, find_exemptions(model, exact, quantized, errors, data.x_train, data)


def test_exactly_the_badly_scaled_layer_is_exempted(tmp_path):
    quantized, found = search(scale_badly, tmp_path)
    assert found.layers == ("scaled",)
    assert found.path != quantized.path
    assert TFLiteFile(found.path).tensor_types["float32"] > 2  # more than input and output
    assert found.scores.lost_low["int8"] > 0.02
    assert found.scores.lost_low["exempt"] <= 0
    assert found.scores.accuracy["exempt"] > 0.95
    assert "with scaled in float it loses" in str(found)


def test_two_layers_that_help_only_together_are_found(tmp_path):
    _, found = search(scale_between_layers, tmp_path)
    assert set(found.layers) == {"scaled", "head"}
    assert found.scores.lost_low["int8"] > 0.1
    assert found.scores.lost_low["exempt"] <= 0


def test_a_sound_model_needs_no_exemption(tmp_path):
    quantized, found = search(leave_alone, tmp_path)
    assert (found.layers, found.path, found.tried) == ((), quantized.path, 0)
    assert found.scores.index.tolist() == ["float32", "int8"]
    assert "nothing significant" in str(found)


def test_layers_that_do_not_help_are_not_kept(tmp_path):
    quantized, found = search(scale_badly, tmp_path, candidates=["sound", "head"])
    assert (found.layers, found.path, found.tried) == ((), quantized.path, 2)
    assert "none of the 2 layers" in str(found)


def test_no_more_layers_are_tried_than_are_few(tmp_path, monkeypatch):
    monkeypatch.setattr(exemptions, "MOST_LAYERS", 1)
    _, found = search(scale_between_layers, tmp_path)
    assert found.tried == 1
    assert len(list(tmp_path.glob("int8-exempt-*.tflite"))) == 1
