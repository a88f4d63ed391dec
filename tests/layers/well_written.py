"""Layers as they should be: the diagnosis has nothing to say about them."""

import keras
from keras import ops

from tests.layers.pattern import register


@register
class ChannelGate(keras.Layer):
    """Squeeze and excitation (Hu et al., 2018)."""

    def __init__(self, ratio=4, **kwargs):
        super().__init__(**kwargs)
        self.ratio = ratio

    def build(self, input_shape):
        channels = input_shape[-1]
        self.squeeze = keras.layers.Dense(channels // self.ratio, activation="relu")
        self.excite = keras.layers.Dense(channels, activation="sigmoid")
        self.squeeze.build((None, channels))
        self.excite.build((None, channels // self.ratio))

    def call(self, x):
        gates = self.excite(self.squeeze(ops.mean(x, axis=(1, 2))))
        return x * gates[:, None, None, :]


@register
class RootMeanSquareNorm(keras.Layer):
    """Root mean square normalisation (Zhang and Sennrich, 2019)."""

    def __init__(self, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, x):
        mean_square = ops.mean(ops.square(x), axis=-1, keepdims=True)
        return x * ops.rsqrt(mean_square + self.epsilon) * self.scale


@register
class ResidualStack(keras.Layer):
    """Dense layers in a row, each fed by the one before: a loop that is no fault."""

    def __init__(self, units=(8, 8, 8, 8, 8, 8), **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.blocks = [keras.layers.Dense(size, activation="relu") for size in units]

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)

    def call(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


@register
class NoisyGate(keras.Layer):
    """Noise in training only, as an argument says."""

    def __init__(self, deviation=0.1, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.deviation = deviation
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, x, training=False):
        if training:
            x = x + keras.random.normal(ops.shape(x), stddev=self.deviation, seed=self.generator)
        return ops.sigmoid(x) * x


WELL_WRITTEN = [
    (ChannelGate, (8, 8, 8)),
    (RootMeanSquareNorm, (12, 6)),
    (ResidualStack, (8,)),
    (NoisyGate, (12, 6)),
]
