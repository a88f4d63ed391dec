"""Code that is not a fault, next to code that is; the classes are read only, never run."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.leankeras.diagnosis.reading import read


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
    assert read(cls) == rules


class Overridden(keras.Layer):
    def call(self, x):
        return ops.convert_to_tensor(np.maximum(x, 0))


class Overriding(Overridden):
    def call(self, x):
        return ops.relu(x)


class Extending(Overridden):
    def call(self, x):
        return super().call(x) + 1


class Handing(keras.Layer):
    def call(self, x):
        def filtered(values):
            return np.tanh(values)

        first = tf.numpy_function(filtered, [x], tf.float32)
        second = tf.py_function(func=self._outside, inp=[x], Tout=tf.float32)
        return first + second + tf.numpy_function(lambda v: np.sin(v), [x], tf.float32)

    def _outside(self, values):
        return np.stack([np.power(values, k) for k in range(8)])


class Renewing(keras.Layer):
    def call(self, x):
        self.parts, self.weights_seen = [], {}
        self.kept.clear()
        for k in range(6):
            self.parts.append(x * k)
        self.weights_seen["last"] = x
        self.kept.append(x)
        return self.parts[0]


class Sometimes(keras.Layer):
    def call(self, x, training=False):
        if training:
            self.parts = []
        self.parts.append(x)
        return x


class Weightless(keras.Layer):
    def call(self, x):
        x = keras.layers.LeakyReLU(0.2)(x)
        return keras.layers.Concatenate()([x, keras.layers.MaxPooling1D(2)(x)])


class Seeded(keras.Layer):
    def call(self, x):
        return keras.layers.Dropout(0.2)(keras.layers.PReLU()(x))


class DrawnInSteps(keras.Layer):
    def __init__(self):
        super().__init__()
        rows = np.eye(4)
        chosen = np.random.choice(4, 2)
        self.mask = rows[chosen]


class BaseConfig(keras.Layer):
    def __init__(self, reduce, size):
        super().__init__()

    def get_config(self):
        return {**super().get_config(), "size": self.size}


class NarrowConfig(BaseConfig):
    def __init__(self, size):
        super().__init__(np.mean, size)


class OwnShapes(keras.Layer):
    def call(self, x):
        kernel = ops.reshape(self.kernel, (3, 3, -1))
        return ops.conv(ops.reshape(x, (-1, 8, 3)), kernel)


@pytest.mark.parametrize(
    ("cls", "rules"),
    [
        (Overriding, []),
        (Extending, ["numpy-in-call"]),
        (Handing, ["python-in-graph"] * 3),
        (Renewing, ["python-loop"]),
        (Sometimes, ["state-in-call"]),
        (Weightless, []),
        (Seeded, ["created-in-call"] * 2),
        (DrawnInSteps, ["random-attribute"]),
        (BaseConfig, ["lost-argument"]),
        (NarrowConfig, []),
        (OwnShapes, []),
    ],
)
def test_what_does_not_run_in_the_graph_is_not_read(cls, rules):
    assert read(cls) == rules
