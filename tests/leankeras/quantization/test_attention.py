"""Attention in int8: masked, trained with fake quantization, or kept in float."""

import keras
import numpy as np
import pytest

from leankeras.conversion.tflite import convert
from leankeras.data import Data
from leankeras.quantization.exemptions import find_exemptions
from leankeras.quantization.layer_error import quantization_error
from leankeras.quantization.training import train_quantized
from leankeras.runtime import evaluate

layers = keras.layers


@pytest.fixture(scope="module")
def causal():
    """A causal attention that has learned to sum up sequences, and its data."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(1500, 8, 8)).astype("float32")
    y = (x[:, :, :4].sum(axis=1)).argmax(axis=-1)
    inputs = keras.Input((8, 8))
    hidden = layers.MultiHeadAttention(2, 8, name="attention")(inputs, inputs, use_causal_mask=True)
    outputs = layers.Dense(4, activation="softmax")(hidden[:, -1])
    model = keras.Model(inputs, outputs, name="net")
    data = Data(x[:1000], y[:1000], x[1200:], y[1200:], x[1000:1200], y[1000:1200])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(data.x_train, data.y_train, batch_size=50, epochs=12, verbose=0)
    assert evaluate(model, data.x_test, data.y_test)["accuracy"] > 0.85
    return model, data


def test_int8_is_as_good_as_the_model(causal, tmp_path):
    model, data = causal
    conversion = convert(
        model,
        tmp_path / "int8.tflite",
        "int8",
        data.x_train[:200],
        evaluation=data.x_val,
        labels=data.y_val,
    )
    before = evaluate(model, data.x_test, data.y_test)["accuracy"]
    after = evaluate(conversion.path, data.x_test, data.y_test)["accuracy"]
    assert after > before - 0.03
    assert conversion.score.lost < 0.01


def test_a_quantization_aware_model_keeps_its_accuracy_in_the_file(causal, tmp_path):
    model, data = causal
    aware = train_quantized(model, data, epochs=0, verbose=0)
    expected = (np.asarray(aware(data.x_test)).argmax(axis=-1) == data.y_test).mean()
    file = convert(aware, tmp_path / "aware.tflite", "int8", data.x_train[:200]).path
    assert evaluate(file, data.x_test, data.y_test)["accuracy"] > expected - 0.03


def strongest(samples):
    """A model that attends to the strongest of 32, often by a hair, and tells its class."""
    random = np.random.default_rng(1)
    classes = np.eye(4)[random.integers(0, 4, (samples, 32))]
    strength = 0.8 + 0.2 * random.random((samples, 32))
    x = np.concatenate([strength[..., None], classes], axis=-1).astype("float32")
    inputs = keras.Input((32, 5))
    attention = layers.MultiHeadAttention(1, 1, value_dim=4, name="attention")
    hidden = attention(inputs, inputs)
    outputs = layers.Dense(4, name="head")(layers.GlobalAveragePooling1D()(hidden))
    model = keras.Model(inputs, outputs, name="net")
    key = np.zeros((5, 1, 1))
    key[0] = 3000.0
    value = np.zeros((5, 1, 4))
    value[1:, 0] = np.eye(4)
    query = [np.zeros((5, 1, 1)), np.ones((1, 1))]
    rest = [key, np.zeros((1, 1)), value, np.zeros((1, 4)), np.eye(4, 5)[None], np.zeros(5)]
    attention.set_weights([*query, *rest])
    model.get_layer("head").set_weights([np.eye(5, 4), np.zeros(4)])
    strongest_class = classes.argmax(-1)[np.arange(samples), strength.argmax(axis=1)]
    return model, x, strongest_class


def test_attention_is_kept_in_float_where_that_is_the_cure(tmp_path):
    model, x, y = strongest(800)
    data = Data(x[:200], y[:200], x[500:], y[500:], x[200:500], y[200:500])
    exact = convert(model, tmp_path / "float32.tflite", "float32", data.x_train)
    quantized = convert(model, tmp_path / "int8.tflite", "int8", data.x_train)
    errors = quantization_error(exact, quantized, data.x_val)
    found = find_exemptions(model, exact, quantized, errors, data.x_train, data)
    assert found.layers == ("attention",)
    assert found.scores.lost_low["int8"] > 0.03
    assert evaluate(found.path, data.x_test, data.y_test)["accuracy"] > 0.98
