"""What is no fault, beside what is; the classes are read only, never run."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from leankeras.diagnosis.rules import RULES
from leankeras.diagnosis.source import read_class


class Harmless(keras.Layer):
    def __init__(self, units, seed=1, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.seed = seed
        self.table = np.random.default_rng(0).normal(size=(4, 4))
        self.dense = keras.layers.Dense(units, kernel_initializer=keras.initializers.Zeros())

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(np.prod(input_shape[1:]),))

    def get_config(self):
        config = super().get_config()
        config.update({"units": self.units, "seed": self.seed})
        return config

    def call(self, x, mask=None, training=False):
        if mask is not None:
            x = x * mask
        if training and self.units > 3:
            x = keras.random.dropout(x, 0.5)
        if x.shape[1] == 4 or len(x.shape) > 2:
            x = x / np.sqrt(self.units)
        size = int(np.prod(x.shape[1:]))
        parts = [x, x]
        if parts:
            x = ops.concatenate(parts)
        self.gain.assign(self.gain * 0.9)
        return ops.reshape(x, (-1, size)) + ops.zeros((1, 4))


class Whiles(keras.Layer):
    def call(self, x):
        while ops.max(x) > 1:
            x = x / 2
        y = x if ops.all(x > 0) else -x
        for _ in tf.range(3):
            y = y + 1
        return y


class Values(keras.Layer):
    def call(self, x):
        return x * x.numpy().max() + np.tanh(x)


class Fills(keras.Layer):
    def call(self, x):
        self.seen.append(x)
        self.cache["last"] = x
        return x


class Makes(keras.Layer):
    def call(self, x):
        weight = self.add_weight(shape=(4,))
        dense = keras.layers.Dense(3)
        return dense(x) * weight


class Forgets(keras.Layer):
    def __init__(self, units=3, rate=0.5, **kwargs):
        super().__init__(**kwargs)

    def get_config(self):
        return dict(super().get_config(), units=self.units)

    def call(self, x):
        return x


class NoConfig(keras.Layer):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("cls", "rules"),
    [
        (Harmless, []),
        (Whiles, ["control-flow-on-tensor"] * 3),
        (Values, ["numpy-in-call"] * 2),
        (Fills, ["state-in-call"] * 2),
        (Makes, ["created-in-call"] * 2),
        (Forgets, ["lost-argument"]),
        (NoConfig, []),
    ],
)
def test_what_the_source_shows(cls, rules):
    layer = read_class(cls)
    read = [rule.name for rule in RULES.values() if rule.reads for _ in rule.reads(layer)]
    assert [name for name in read if name != "unregistered"] == rules
