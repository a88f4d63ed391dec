"""Where are nodules in this CT slice? Spatial weights computed from the input, in two loops."""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kopt.case import Case, Epochs
from kopt.project import DATA
from leankeras.budget import Budget
from leankeras.data import Data
from leankeras.rewriting import Rewrite
from leankeras.scripts import run_script
from leankeras.task import Task

SLICES = run_script(DATA / "ct_slices.py")
SIDE = SLICES.SIDE
PATIENTS = {"train": 80, "test": 30}
LEVEL, WINDOW = -600.0, 750.0  # Hounsfield units, 0 and 1 of the network's input


@keras.saving.register_keras_serializable("kopt")
class Involution(keras.Layer):
    """Each position has a kernel of its own, computed from what is there, for each group.

    Li et al., "Involution: Inverting the Inherence of Convolution for Visual Recognition"
    (CVPR 2021, arXiv:2103.06255), written as one would first write it: a loop over the groups and
    a loop over the positions of the kernel.

    Args:
        kernel_size: side of the surroundings, in pixels.
        groups: channels are dealt out to so many groups, each with a kernel.
        hidden: channels between the input and the kernels.

    Takes and returns ``(batch, rows, columns, channels)``.
    """

    def __init__(self, kernel_size: int = 3, groups: int = 4, hidden: int = 8, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.groups = groups
        self.hidden = hidden

    def build(self, input_shape):
        kernels = self.kernel_size**2 * self.groups
        self.reduce = self.add_weight(name="reduce", shape=(1, 1, input_shape[-1], self.hidden))
        self.span = self.add_weight(name="span", shape=(1, 1, self.hidden, kernels))
        self.bias = self.add_weight(name="bias", shape=(kernels,), initializer="zeros")

    def call(self, inputs):
        rows, columns, channels = inputs.shape[1:]
        size, width = self.kernel_size, channels // self.groups
        hidden = tf.nn.relu(tf.nn.conv2d(inputs, self.reduce, 1, "SAME"))
        edge = [size // 2, size // 2]
        padded = tf.pad(inputs, [[0, 0], edge, edge, [0, 0]])
        outputs = []
        for group in range(self.groups):
            total = 0.0
            for position in range(size**2):
                i = position * self.groups + group
                weight = tf.nn.conv2d(hidden, self.span[..., i : i + 1], 1, "SAME") + self.bias[i]
                y, x = divmod(position, size)
                around = padded[:, y : y + rows, x : x + columns]
                total += weight * around[..., group * width : (group + 1) * width]
            outputs.append(total)
        return tf.concat(outputs, axis=-1)

    def get_config(self):
        sizes = {name: getattr(self, name) for name in ("kernel_size", "groups", "hidden")}
        return {**super().get_config(), **sizes}


def load() -> Data:
    """Drawn slices, lungs around 0 and soft tissue around 1; patients are set aside whole."""
    parts = {name: SLICES.draw(count, seed) for seed, (name, count) in enumerate(PATIENTS.items())}
    arrays = {}
    for name, (images, marks, _) in parts.items():
        images -= LEVEL
        images /= WINDOW
        arrays |= {f"x_{name}": images[..., np.newaxis], f"y_{name}": marks[..., np.newaxis]}
    task = replace(Task.binary_segmentation(), loss=overlap_loss)
    return Data(**arrays, groups_train=parts["train"][2], task=task)


def _convolved(x: keras.KerasTensor, width: int, name: str, size: int = 3, stride: int = 1):
    x = layers.Conv2D(width, size, stride, padding="same", use_bias=False, name=f"conv_{name}")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"norm_{name}")(x)
    return layers.ReLU(name=f"relu_{name}")(x)


def _network(name: str, width: int, involution: bool) -> keras.Model:
    """To a quarter of the side at once, to an eighth, and back up; 16 pixels to a position."""
    inputs = keras.Input((SIDE, SIDE, 1), name="slice")
    patches = _convolved(inputs, width, "patches", 4, stride=4)
    quarter = _convolved(patches, width, "quarter")
    x = _convolved(quarter, width, "eighth", stride=2)
    x = Involution(name="involution")(x) if involution else _convolved(x, width, "around")
    x = _convolved(x, 2 * width, "deep")
    x = layers.UpSampling2D(interpolation="bilinear", name="up")(_convolved(x, width, "narrow", 1))
    x = _convolved(layers.Concatenate(name="both")([x, quarter]), width, "out")
    x = _convolved(x, 3 * width, "wide", 1)
    rare = keras.initializers.Constant(-4)  # 2 pixels in 1000 are marked
    x = layers.Conv2D(16, 1, bias_initializer=rare, name="pixels")(x)
    x = layers.Reshape((SIDE // 4, SIDE // 4, 4, 4), name="squares")(x)
    x = layers.Permute((1, 3, 2, 4), name="rows")(x)
    x = layers.Reshape((SIDE, SIDE, 1), name="full")(x)
    return keras.Model(inputs, layers.Activation("sigmoid", name="nodule")(x), name=name)


def overlap_loss(marks, outputs):
    """Cross-entropy, and how little of nodules and marks is common to both (soft Dice)."""
    marks = keras.ops.cast(marks, outputs.dtype)
    common, both = keras.ops.sum(marks * outputs), keras.ops.sum(marks + outputs)
    return keras.ops.mean(keras.losses.binary_crossentropy(marks, outputs)) + 1 - 2 * common / both


def _merged(old: Involution, wide: bool) -> keras.Model:
    """All groups at a time: their kernels from one convolution, and a product for each position.

    ``wide`` computes a kernel for each channel, where channels of a group have the same; otherwise
    a fifth axis holds the channels of a group.
    """
    rows, columns, channels = old.input.shape[1:]
    size, width = old.kernel_size, channels // old.groups
    inputs = keras.Input((rows, columns, channels))
    hidden = layers.Conv2D(old.hidden, 1, use_bias=False, activation="relu")(inputs)
    around = layers.ZeroPadding2D(size // 2)(inputs)
    if wide:
        kernels = layers.Conv2D(size**2 * channels, 1)(hidden)
    else:
        kernels = layers.Conv2D(size**2 * old.groups, 1)(hidden)
        kernels = layers.Reshape((rows, columns, size**2 * old.groups, 1))(kernels)
        around = layers.Reshape((*around.shape[1:3], old.groups, width))(around)
    step, products = kernels.shape[3] // size**2, []
    for position in range(size**2):
        y, x = divmod(position, size)
        kernel = kernels[:, :, :, position * step : (position + 1) * step]
        products.append(layers.Multiply()([kernel, around[:, y : y + rows, x : x + columns]]))
    return keras.Model(inputs, layers.Reshape((rows, columns, channels))(layers.Add()(products)))


def _port_wide(old: Involution, new: keras.Model) -> None:
    reduce, *kernels = old.get_weights()
    width = old.input.shape[-1] // old.groups
    new.set_weights([reduce, *(np.repeat(each, width, axis=-1) for each in kernels)])


CASE = Case(
    name="nodule",
    title="Nodules in drawn CT slices, with kernels computed from the input in a loop",
    load=load,
    build=lambda: _network("nodule", 16, involution=True),
    slow_layer=Involution,
    rewrites=(
        Rewrite(
            name="groups at once",
            make=lambda old: _merged(old, wide=False),
            port=lambda old, new: new.set_weights(old.get_weights()),
        ),
        Rewrite(name="wide", make=lambda old: _merged(old, wide=True), port=_port_wide),
    ),
    build_teacher=lambda: _network("teacher", 32, involution=False),
    budget=Budget(latency_us=15_000, accuracy_loss=0.005),
    remark=SLICES.found,
    epochs=Epochs(profile=40, prune=8, distil=12, qat=3),
)
