"""Recurrent layers with dropout, whose cells draw masks even at inference, and other state."""

import keras
import numpy as np
import pytest
from keras import layers

from leankeras.conversion.tflite import convert
from leankeras.runtime import profile_operators
from leankeras.runtime.ways_to_call import ladder

RATES = {"dropout": 0.2, "recurrent_dropout": 0.1}


def recurrent():
    inputs = keras.Input((6, 3))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True, **RATES))(inputs)
    x = layers.RNN([layers.LSTMCell(4, **RATES), layers.GRUCell(3, **RATES)], True)(x)
    x = layers.SimpleRNN(4, return_sequences=True, **RATES)(layers.Dropout(0.1)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.GRU(4, **RATES)(x)))


def convolutional():
    inputs = keras.Input((3, 5, 5, 2))
    return keras.Model(inputs, layers.Flatten()(layers.ConvLSTM2D(2, 2, **RATES)(inputs)))


@pytest.fixture(scope="module", params=[recurrent, convolutional])
def model(request):
    keras.utils.set_random_seed(0)
    return request.param()


@pytest.fixture(scope="module")
def samples(model):
    shape = (20, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    ("mode", "limit"),
    [("float32", 1e-6), ("float16", 2e-3), ("int8", 0.1)],
)
def test_it_converts(model, samples, mode, limit, tmp_path):
    rates = [layer.dropout for layer in model.layers if hasattr(layer, "dropout")]
    conversion = convert(model, tmp_path / "m.tflite", mode, samples)
    assert conversion.max_abs_diff < limit
    assert not conversion.operators.operator.str.contains("VARIABLE").any()
    assert rates == [layer.dropout for layer in model.layers if hasattr(layer, "dropout")]


def test_it_stands_on_every_rung_of_the_ladder(model, samples):
    x = samples[:1]
    expected = np.asarray(model(x))
    for name, call in ladder(model, x).items():
        given = np.asarray(call(x)).reshape(expected.shape)
        np.testing.assert_allclose(given, expected, atol=1e-5, err_msg=name)


class Counted(keras.layers.Layer):
    def build(self, input_shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.calls.assign_add(1.0)
        return 2 * inputs


def test_operators_that_give_nothing_are_in_the_table(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Counted()])
    conversion = convert(model, tmp_path / "m.tflite", "float32")
    assert "ASSIGN_VARIABLE" in set(conversion.operators.operator)
    assert len(profile_operators(conversion.path)) == len(conversion.operators)
