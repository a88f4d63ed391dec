"""Layers that walk along time."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Pattern, register


@register
class HandWrittenLSTM(keras.Layer):
    """An LSTM in a Python loop, gates in the order input, forget, cell, output."""

    def __init__(self, units=8, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], 4 * self.units), name="w")
        self.u = self.add_weight(shape=(self.units, 4 * self.units), name="u")
        self.b = self.add_weight(shape=(4 * self.units,), initializer="zeros", name="b")

    def call(self, x):
        h = tf.zeros_like(x[:, 0, :1]) * tf.zeros((1, self.units))
        c = tf.zeros_like(h)
        for t in range(x.shape[1]):
            z = tf.matmul(x[:, t, :], self.w) + tf.matmul(h, self.u) + self.b
            i, f, g, o = tf.split(z, 4, axis=-1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return h


def lstm(units=8, **options):
    return keras.layers.LSTM(units, unit_forget_bias=False, unroll=True, **options)


def port_lstm(slow, fast):
    fast.cell.kernel.assign(slow.w)
    fast.cell.recurrent_kernel.assign(slow.u)
    fast.cell.bias.assign(slow.b)


def port_gates_swapped(slow, fast):
    order = [0, 2, 1, 3]  # another library's order of gates
    for ours, theirs in (
        (slow.w, fast.cell.kernel),
        (slow.u, fast.cell.recurrent_kernel),
        (slow.b, fast.cell.bias),
    ):
        parts = np.split(np.asarray(ours), 4, axis=-1)
        theirs.assign(np.concatenate([parts[i] for i in order], axis=-1))


HAND_WRITTEN_LSTM = Pattern(
    "hand-written LSTM",
    HandWrittenLSTM,
    (10, 6),
    {"recurrence": "info"},
    real_shape=(32, 16),
    real_sizes={"units": 64},
    right={"LSTM(unroll)": (lstm, port_lstm)},
    wrong={
        "swapped gates": (lstm, port_gates_swapped),
        "backwards": (lambda: lstm(go_backwards=True), port_lstm),
        "hard sigmoid": (lambda: lstm(recurrent_activation="hard_sigmoid"), port_lstm),
    },
)


@register
class CircularShift(keras.Layer):
    """Every rotation of the sequence, weighted: a circular correlation."""

    def build(self, input_shape):
        self.steps = input_shape[1]
        self.weight = self.add_weight(shape=(self.steps,), name="weight")

    def call(self, x):
        shifted = []
        for s in range(self.steps):
            rotated = tf.concat([x[:, s:], x[:, :s]], axis=1)
            shifted.append(rotated * self.weight[s])
        return tf.add_n(shifted)


@register
class CircularMatrix(keras.Layer):
    def __init__(self, direction=1, linear=False, **kwargs):
        super().__init__(**kwargs)
        self.direction = direction
        self.linear = linear

    def build(self, input_shape):
        steps = input_shape[1]
        self.weight = self.add_weight(shape=(steps,), name="weight")
        distance = self.direction * (np.arange(steps)[None, :] - np.arange(steps)[:, None])
        self.index = np.maximum(distance, 0) if self.linear else distance % steps

    def call(self, x):
        return ops.einsum("ts,bsf->btf", ops.take(self.weight, self.index, axis=0), x)


CIRCULAR_SHIFT = Pattern(
    "circular shift",
    CircularShift,
    (16, 4),
    {"loop-over-timesteps": "warning"},
    real_shape=(64, 16),
    real_sizes={},
    right={"circulant matrix": (CircularMatrix, None)},
    wrong={
        "other direction": (lambda: CircularMatrix(direction=-1), None),
        "not wrapped": (lambda: CircularMatrix(linear=True), None),
    },
)


@register
class DensePerStep(keras.Layer):
    """A Dense for each timestep in turn."""

    def __init__(self, units=8, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(units, activation="tanh")
        self.units = units

    def build(self, input_shape):
        self.dense.build((input_shape[0], input_shape[-1]))

    def call(self, x):
        outputs = []
        for t in range(x.shape[1]):
            outputs.append(self.dense(x[:, t]))
        return ops.stack(outputs, axis=1)


DENSE_PER_STEP = Pattern(
    "dense per timestep",
    DensePerStep,
    (12, 6),
    {"loop-over-timesteps": "warning"},
    real_shape=(64, 32),
    real_sizes={"units": 64},
    right={"Dense": (lambda units=8: keras.layers.Dense(units, activation="tanh"), None)},
    wrong={
        "activation": (lambda: keras.layers.Dense(8, activation="sigmoid"), None),
        "normalised": (
            lambda: keras.Sequential(
                [
                    keras.layers.Dense(8, activation="tanh"),
                    keras.layers.UnitNormalization(axis=-1),
                ]
            ),
            None,
        ),
    },
)

PATTERNS = [HAND_WRITTEN_LSTM, CIRCULAR_SHIFT, DENSE_PER_STEP]
