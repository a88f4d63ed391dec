"""Which piece of clothing is this? Spatial attention, written channel by channel."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kopt.case import Case, Epochs
from kopt.project import DATA
from leankeras.budget import Budget
from leankeras.data import Data
from leankeras.rewriting import Rewrite

SIDE, CLASSES = 28, 10


@keras.saving.register_keras_serializable("kopt")
class SpatialAttention(keras.Layer):
    """Weights every position of every channel by its surroundings, looping over the channels.

    Args:
        kernel_size: side of the surroundings, in pixels.

    Takes and returns ``(batch, rows, columns, channels)``.
    """

    def __init__(self, kernel_size: int = 5, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size

    def build(self, input_shape):
        size, channels = self.kernel_size, input_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(size, size, channels, 1))
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")

    def call(self, inputs):
        weighed = []
        for i in range(inputs.shape[-1]):
            channel = inputs[..., i : i + 1]
            around = tf.nn.conv2d(channel, self.kernel[:, :, i : i + 1], strides=1, padding="SAME")
            weighed.append(channel * tf.sigmoid(around + self.bias[i]))
        return tf.concat(weighed, axis=-1)

    def get_config(self):
        return {**super().get_config(), "kernel_size": self.kernel_size}


def load() -> Data:
    """Images with pixels from 0 to 1 and a channel axis."""
    raw = Data.load(DATA / "fashion_mnist.npz")
    return raw.with_samples(lambda x: x[..., np.newaxis].astype(np.float32) / 255)


def _network(name: str, widths: tuple[int, ...], attention: bool) -> keras.Model:
    inputs = x = keras.Input((SIDE, SIDE, 1), name="picture")
    for number, width in enumerate(widths, 1):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv_{number}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm_{number}")(x)
        x = layers.ReLU(name=f"relu_{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool_{number}")(x)
        if attention and number == 2:
            x = SpatialAttention(name="attention")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=name)


def _depthwise(old: SpatialAttention) -> keras.Model:
    """One depthwise convolution for all channels, then one product."""
    inputs = keras.Input(old.input.shape[1:])
    weight = layers.DepthwiseConv2D(
        old.kernel_size, padding="same", activation="sigmoid", name="surroundings"
    )(inputs)
    return keras.Model(inputs, layers.Multiply(name="weighed")([inputs, weight]))


CASE = Case(
    name="vision",
    title="Pieces of clothing, with spatial attention that loops over its channels",
    load=load,
    build=lambda: _network("vision", (24, 48, 96), attention=True),
    slow_layer=SpatialAttention,
    rewrites=(
        Rewrite(
            name="depthwise",
            make=_depthwise,
            port=lambda old, new: new.set_weights(old.get_weights()),
        ),
    ),
    build_teacher=lambda: _network("teacher", (48, 96, 192), attention=False),
    budget=Budget(latency_us=30, size_kb=50, accuracy_loss=0.01),
    epochs=Epochs(profile=4, prune=2, distil=6, qat=1),
)
