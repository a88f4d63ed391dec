"""Weights that do nothing, and variables that Keras does not see; nothing is converted."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from leankeras.diagnosis.diagnosis import diagnose
from leankeras.diagnosis.rules import RULES
from leankeras.diagnosis.samples import find_inputs
from leankeras.diagnosis.source import read_class
from leankeras.diagnosis.trial import Trial, try_calls, try_graph
from leankeras.diagnosis.weights import try_variables, try_weights


def tried(layer: keras.Layer, shape=(6,), samples=None) -> Trial:
    files = frozenset(source.path for source in read_class(type(layer)).classes)
    inputs = find_inputs(layer, shape if samples is None else None, samples)
    inputs.call(layer, inputs.batch())
    trial = Trial(layer, inputs, files)
    assert try_calls(trial)
    assert try_graph(trial)
    try_weights(trial)
    try_variables(trial)
    return trial


def idle(trial: Trial) -> list[str]:
    return [fault.message for fault in trial.faults if fault.rule == "unused-weight"]


class Used(keras.Layer):
    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.scale = self.add_weight(shape=shape, initializer="ones")
        self.in_training = self.add_weight(shape=shape, initializer="ones")
        self.in_loss = self.add_weight(shape=shape, initializer="ones")
        self.rounded = self.add_weight(shape=shape, initializer="ones")
        self.looped = self.add_weight(shape=shape, initializer="ones")
        self.fixed = self.add_weight(shape=shape, initializer="ones", trainable=False)

    def call(self, x, training=False):
        self.add_loss(ops.sum(self.in_loss**2))
        if training:
            x = x * self.in_training
        x = x * self.scale + ops.stop_gradient(ops.round(self.rounded))
        return tf.map_fn(lambda row: row * self.looped, x)


class OnlyWhole(keras.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 3))

    def call(self, x):
        return ops.argmax(ops.matmul(x, self.kernel), axis=-1)


class Unused(keras.Layer):
    def build(self, input_shape):
        self.frequency = self.add_weight(shape=(input_shape[-1],), initializer="ones")
        self.wave = ops.sin(self.frequency)
        self.cut = self.add_weight(shape=(4, 4))
        self.half = self.cut[:2]
        self.never = keras.layers.Dense(2)
        self.never.build(input_shape)
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.wave * self.scale + ops.sum(self.half)


def test_weights_that_are_used_in_any_way():
    assert idle(tried(Used())) == []
    assert idle(tried(OnlyWhole())) == []


def test_weights_that_are_used_once_in_build_or_never():
    (names,) = idle(tried(Unused()))
    assert names.split(", ")[:2] == ["frequency", "cut"]
    assert "never (" in names
    assert "scale" not in names


def test_a_model_of_keras_layers_uses_all_its_weights():
    tokens = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(9, 4, mask_zero=True)(tokens)
    x = keras.layers.MultiHeadAttention(2, 2)(x, x)
    x = keras.layers.BatchNormalization()(keras.layers.LSTM(3)(x))
    model = keras.Model(tokens, keras.layers.Dense(2)(x))
    trial = Trial(model, find_inputs(model, None, None))
    assert try_calls(trial)
    assert try_graph(trial)
    try_weights(trial)
    assert idle(trial) == []


def test_an_unused_weight_is_said_where_it_is_made_and_how_it_is_mended():
    (found,) = [one for one in diagnose(Unused(), (6,)).findings if one.rule == "unused-weight"]
    assert found.where.endswith(f":{Unused.build.__code__.co_firstlineno + 1}")
    assert "compute what depends on it in call" in RULES["unused-weight"].fix


class Variables(keras.Layer):
    def __init__(self):
        super().__init__()
        self.learnt = tf.Variable(1.0)
        self.zeros = tf.Variable(tf.zeros(6))
        self.frozen = tf.Variable(1.0, trainable=False)
        self.table = tf.Variable(np.linspace(0, 1, 6), dtype="float32")
        self.whole = tf.Variable([1, 2])
        self.mean = tf.Variable(tf.zeros(6), trainable=False)
        self.listed = [tf.Variable(2.0)]
        self._private = tf.Variable(3.0)
        self.tracked = keras.Variable(1.0)

    def call(self, x, training=False):
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x, axis=0))
        x = (x - self.mean) * self.learnt + self.zeros * self.listed[0] * self._private
        return x * self.frozen * self.table * self.tracked + float(self.whole.shape[0])


def test_variables_that_are_changed_or_meant_to_be_learnt_are_lost():
    layer = Variables()
    trial = tried(layer)
    lost = {"self.learnt", "self.zeros", "self.mean", "self.listed", "self._private"}
    assert trial.lost_variables == lost
    np.testing.assert_array_equal(layer.mean, np.zeros(6))


@keras.saving.register_keras_serializable("weights")
class Constants(keras.Layer):
    def build(self, input_shape):
        self.grid = tf.Variable(np.linspace(0, 1, input_shape[-1]), dtype="float32")
        self.index = tf.Variable(np.arange(3), trainable=False)
        self.double = keras.layers.Lambda(lambda x: x * 2)

    def call(self, x):
        return self.double(x) * self.grid + float(self.index.shape[0])


def test_constants_made_anew_and_lambdas_in_a_layer_are_no_fault_once_reloaded():
    assert diagnose(Constants(), (6,)).findings == ()


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_that_cannot_train_says_nothing_of_its_weights(training):
    class Fails(keras.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight(shape=(input_shape[-1],))

        def call(self, x, training=False):
            if training:
                raise RuntimeError("not today")
            return x * 2

    assert idle(tried(Fails())) == []
