"""Layers whose output is zero on the calibration samples."""

import keras
import numpy as np
import pytest

from leankeras.conversion.tflite import convert
from leankeras.errors import ConversionError
from leankeras.runtime import LiteRTModel

layers = keras.layers
X = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
IMAGES = np.random.default_rng(0).normal(size=(40, 8, 8, 3)).astype("float32")


def dead_dense(bias):
    inputs = keras.Input((8,))
    alive = layers.Dense(8, activation="relu", name="alive")(inputs)
    dead = layers.Dense(8, activation="relu", name="dead", bias_initializer=bias)(alive)
    return keras.Model(inputs, layers.Dense(3)(layers.Add()([alive, dead])), name="net"), X


def dead_convolution(bias):
    inputs = keras.Input((8, 8, 3))
    alive = layers.Conv2D(4, 3, activation="relu", name="alive")(inputs)
    dead = layers.Conv2D(4, 3, activation="relu", name="dead", bias_initializer=bias)(alive)
    both = [layers.GlobalAveragePooling2D()(x) for x in (alive, dead)]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(both)), name="net"), IMAGES


@pytest.mark.parametrize("make", [dead_dense, dead_convolution])
def test_a_dead_layer_is_named_and_does_not_stop_the_file(make, tmp_path):
    keras.utils.set_random_seed(0)
    model, samples = make(keras.initializers.Constant(-100.0))
    conversion = convert(model, tmp_path / "a.tflite", "int8", samples)
    assert "layer 'dead' gives zero for every calibration sample" in conversion.warning
    assert conversion.difference < 0.05
    assert np.isfinite(LiteRTModel(conversion.path)(samples)).all()


def test_a_layer_that_hardly_answers_has_no_finer_scale_than_makes_sense(tmp_path):
    keras.utils.set_random_seed(0)
    model, samples = dead_dense("zeros")
    alive = np.asarray(keras.Model(model.input, model.get_layer("alive").output)(samples))
    kernel = np.zeros((8, 8), "float32")
    kernel[:, 0] = 1.0
    # one sample of forty lifts one unit just above zero
    bias = np.full(8, -100.0, "float32")
    bias[0] = 1e-6 - (alive @ kernel)[:, 0].max()
    model.get_layer("dead").set_weights([kernel, bias])
    conversion = convert(model, tmp_path / "a.tflite", "int8", samples)
    assert conversion.difference < 0.05


def tiny(size):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    weights = keras.initializers.RandomNormal(0, size)
    return keras.Model(inputs, layers.Dense(3, kernel_initializer=weights, name="tiny")(inputs))


def test_tiny_results_have_a_scale_of_their_own(tmp_path):
    assert convert(tiny(1e-6), tmp_path / "a.tflite", "int8", X).difference < 0.05


def test_results_below_the_quantizers_least_scale_are_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"100 % off .* layer 'tiny'; keep_float=\['tiny'\]"):
        convert(tiny(1e-9), tmp_path / "a.tflite", "int8", X)


@pytest.mark.parametrize("kind", [layers.GRU, layers.LSTM, layers.SimpleRNN])
def test_sequences_that_begin_with_zeros(kind, tmp_path):
    """The sums of such a step are zero on every sample; their scale must suit the state's."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((7, 3))
    hidden = layers.Bidirectional(kind(4))(layers.ZeroPadding1D((2, 1))(inputs))
    model = keras.Model(inputs, layers.Dense(3)(hidden))
    conversion = convert(
        model, tmp_path / "a.tflite", "int8", X.reshape(-1, 8)[:, :7, None] + [0, 1, 2]
    )
    assert conversion.difference < 0.1
    assert conversion.warning is None


def test_a_group_of_one_has_no_variance(tmp_path):
    inputs = keras.Input((8,))
    outputs = layers.Concatenate()([layers.GroupNormalization(groups=-1)(inputs), inputs])
    conversion = convert(keras.Model(inputs, outputs), tmp_path / "a.tflite", "int8", X)
    assert np.isfinite(LiteRTModel(conversion.path)(X)).all()
