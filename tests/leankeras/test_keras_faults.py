"""At batch 1 and unrolled, a model computes what it computes in training."""

import keras
import numpy as np
import pytest

from leankeras.conversion.tflite import convert
from leankeras.keras_faults import without_faults
from leankeras.runtime import LiteRTModel, TFLiteFile

layers, ops = keras.layers, keras.ops
random = np.random.default_rng(0)


def of_pairs(shape, combine):
    inputs = keras.Input(shape)
    return keras.Model(inputs, combine(inputs)), random.normal(size=(12, *shape)).astype("float32")


def masked(cell):
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(5, 3, mask_zero=True)(inputs)
    model = keras.Model(inputs, layers.Bidirectional(cell(2, return_sequences=True))(x))
    return model, random.integers(0, 5, (12, 6)).astype("int32")


@pytest.mark.parametrize(
    "make",
    [
        lambda: of_pairs((7, 7), lambda x: x + ops.mean(x, axis=-1, keepdims=True)),
        lambda: of_pairs((7, 1), lambda x: layers.Add()([x, ops.tanh(x)])),
        lambda: of_pairs((5, 7, 5), lambda x: x + ops.max(x, axis=(2, 3), keepdims=True)),
        lambda: of_pairs((5, 2), lambda x: layers.UnitNormalization()(layers.ReLU()(x))),
        lambda: of_pairs((5, 2), layers.UnitNormalization(axis=[1, 2])),
        lambda: of_pairs((5, 2), layers.UnitNormalization(axis=1)),
        lambda: masked(layers.LSTM),
        lambda: masked(layers.GRU),
    ],
)
def test_one_sample_gives_what_it_gives_in_a_batch(make, tmp_path):
    model, samples = make()
    expected = np.asarray(model(samples))
    with without_faults():
        alone = np.concatenate([model(samples[i : i + 1]) for i in range(len(samples))])
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    file = LiteRTModel(convert(model, tmp_path / "a.tflite", "float32", samples).path)
    np.testing.assert_allclose(file(samples), expected, atol=1e-5)
    assert keras.src.backend.numpy.add.__module__.startswith("keras.")  # Keras is as it was


def test_a_convolution_still_takes_in_its_bias_and_the_normalization_after_it(tmp_path):
    layers = [keras.Input((16, 2)), keras.layers.Conv1D(4, 3), keras.layers.BatchNormalization()]
    file = convert(keras.Sequential(layers), tmp_path / "folded.tflite", "float32").path
    kinds = {operator.kind for operator in TFLiteFile(file).operators}
    assert "CONV_2D" in kinds
    assert kinds <= {"CONV_2D", "RESHAPE"}


def test_a_unit_normalization_becomes_the_operator_that_lite_rt_has(tmp_path):
    model, samples = of_pairs((5, 4), lambda x: layers.UnitNormalization()(layers.ReLU()(x)))
    conversion = convert(model, tmp_path / "a.tflite", "int8-io", samples)
    assert "L2_NORMALIZATION" in set(conversion.operators.operator)
    assert conversion.difference < 0.1
