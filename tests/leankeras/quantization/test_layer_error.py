import keras
import numpy as np
import pytest

from leankeras.conversion.tflite import convert
from leankeras.errors import ModelError
from leankeras.quantization.layer_error import quantization_error
from leankeras.runtime.litert import LiteRTModel


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A model with one layer whose outputs differ by orders of size, its two files, samples."""
    keras.utils.set_random_seed(0)
    samples = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    inputs = keras.Input((8,))
    x = keras.layers.Dense(8, activation="tanh", name="sound")(inputs)
    x = keras.layers.Dense(8, name="fragile")(x)
    outputs = keras.layers.Dense(4, name="head")(x)
    model = keras.Model(inputs, outputs, name="net")
    sizes = np.asarray([50] + 7 * [1], "float32")
    kernel, bias = model.get_layer("fragile").get_weights()
    model.get_layer("fragile").set_weights([kernel * sizes, bias])
    kernel, bias = model.get_layer("head").get_weights()
    kernel[0] = 0
    model.get_layer("head").set_weights([kernel, bias])
    directory = tmp_path_factory.mktemp("fragile")
    exact = convert(model, directory / "float32.tflite", "float32", samples)
    quantized = convert(model, directory / "int8.tflite", "int8", samples)
    return model, exact, quantized, samples


def test_errors_are_those_of_the_tensors(converted, samples):
    table = quantization_error(converted["float32"], converted["int8"], samples)
    assert list(table.index.sort_values()) == ["dense", "dense_1", "flatten", "head", "hidden"]
    assert (table.own_error.diff().dropna() <= 0).all()
    exact = LiteRTModel(converted["float32"].path)(samples[:16])
    got = LiteRTModel(converted["int8"].path, xnnpack=False)(samples[:16])
    expected = np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact**2))
    assert table.error["head"] >= expected * 0.999
    assert table.error.max() < 0.2


def test_the_layer_to_keep_in_float_stands_first(fragile, tmp_path):
    model, exact, quantized, samples = fragile
    table = quantization_error(exact, quantized, samples)
    assert table.index[0] == "head"
    assert table.own_error["head"] > 10 * table.own_error["sound"]
    # The head reads values rounded to the steps of the large output, so both belong in float.
    kept = convert(model, tmp_path / "a.tflite", "int8", samples, keep_float=["head", "fragile"])
    expected = np.asarray(model(samples))

    def error(conversion):
        return np.abs(LiteRTModel(conversion.path)(samples) - expected).mean()

    assert error(kept) < 0.2 * error(quantized)


def test_truth_values_and_integers_between_layers_have_errors_too(tmp_path):
    """An Embedding looks for negative ids, so there are both."""
    ids = np.random.default_rng(0).integers(0, 9, (16, 6)).astype("int32")
    inputs = keras.Input((6,), dtype="int32")
    x = keras.layers.Conv1D(4, 3, activation="relu")(keras.layers.Embedding(9, 4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.Flatten()(x)))
    modes = ("float32", "int8")
    pair = [convert(model, tmp_path / f"{mode}.tflite", mode, ids) for mode in modes]
    table = quantization_error(*pair, ids)
    assert (table.error < 0.2).all()
    assert {"embedding", "head"} <= {layer.partition("_")[0] for layer in table.index}


def test_two_different_models_are_refused(converted, samples, tmp_path):
    pooled = keras.layers.GlobalMaxPooling1D()
    model = keras.Sequential([keras.Input((16, 2)), pooled], name="other")
    other = convert(model, tmp_path / "other.tflite", "float32")
    with pytest.raises(ModelError, match="two conversions of one model"):
        quantization_error(other.path, converted["int8"], samples)
