"""Which exercise is the patient doing? A smartwatch, and a convolution written filter by filter."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kopt.case import Case, Epochs
from kopt.project import DATA
from leankeras.budget import Budget
from leankeras.data import Data
from leankeras.rewriting import Rewrite

WINDOW, CHANNELS, CLASSES = 128, 6, 7


@keras.saving.register_keras_serializable("kopt")
class CustomConv(keras.Layer):
    """A 1-D convolution as a first attempt might be written: a loop over the filters, then a stack.

    Args:
        filters: number of output channels.
        kernel_size: length of the kernel, in samples.

    Takes ``(batch, time, channels)`` and returns ``(batch, time, filters)``; "same" padding.
    """

    def __init__(self, filters: int, kernel_size: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(self.kernel_size, input_shape[-1], self.filters)
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, inputs):
        outputs = []
        for i in range(self.filters):
            one_filter = self.kernel[:, :, i : i + 1]
            outputs.append(tf.nn.conv1d(inputs, one_filter, stride=1, padding="SAME")[:, :, 0])
        return tf.stack(outputs, axis=-1) + self.bias

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
        }


def load() -> Data:
    """Windows of watch motion, standardised with the training mean and standard deviation."""
    return Data.load(DATA / "watch.npz").standardised()


def _network(name: str, widths: tuple[int, ...], custom: int | None = None) -> keras.Model:
    """Three convolutions; number ``custom`` is the slow one."""
    inputs = x = keras.Input((WINDOW, CHANNELS), name="window")
    for number, width in enumerate(widths, 1):
        if number == custom:
            x = CustomConv(width, 5, name=f"conv_{number}")(x)
        else:
            x = layers.Conv1D(width, 5, padding="same", name=f"conv_{number}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm_{number}")(x)
        x = layers.ReLU(name=f"relu_{number}")(x)
        x = layers.MaxPooling1D(2, name=f"pool_{number}")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=name)


def _conv_2d(old: CustomConv) -> keras.Model:
    """The same convolution on a picture one pixel wide."""
    inputs = keras.Input(old.input.shape[1:])
    picture = layers.Reshape((old.input.shape[1], 1, old.input.shape[2]))(inputs)
    filtered = layers.Conv2D(old.filters, (old.kernel_size, 1), padding="same")(picture)
    return keras.Model(inputs, layers.Reshape((old.input.shape[1], old.filters))(filtered))


def _port_2d(old: CustomConv, new: keras.Model) -> None:
    kernel, bias = old.get_weights()
    new.set_weights([kernel[:, np.newaxis], bias])


CASE = Case(
    name="signal",
    title="Shoulder exercises from a smartwatch, with a convolution that loops over its filters",
    load=load,
    build=lambda: _network("signal", (32, 64, 64), custom=2),
    slow_layer=CustomConv,
    rewrites=(
        Rewrite(
            name="Conv1D",
            make=lambda old: layers.Conv1D(old.filters, old.kernel_size, padding="same"),
            port=lambda old, new: new.set_weights(old.get_weights()),
        ),
        Rewrite(name="Conv2D", make=_conv_2d, port=_port_2d),
    ),
    build_teacher=lambda: _network("teacher", (64, 128, 128)),
    budget=Budget(latency_us=20, size_kb=20, accuracy_loss=0.01),
    epochs=Epochs(profile=12, prune=6, distil=20, qat=6),
)
