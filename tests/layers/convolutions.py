"""Convolutions and pooling written as loops."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Pattern, register, values


@register
class FilterLoop(keras.Layer):
    """One convolution for each filter, then a concatenation."""

    def __init__(self, filters=8, size=5, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.size = size

    def build(self, input_shape):
        self.kernels = [
            self.add_weight(shape=(self.size, input_shape[-1], 1), name=f"kernel_{i}")
            for i in range(self.filters)
        ]
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x):
        outputs = []
        for kernel in self.kernels:
            outputs.append(tf.nn.conv1d(x, kernel, stride=1, padding="SAME"))
        return tf.nn.relu(tf.concat(outputs, axis=-1) + self.bias)


def fused(filters=8, size=5, padding="same", activation="relu"):
    return keras.layers.Conv1D(filters, size, padding=padding, activation=activation)


def port_filters(slow, fast):
    fast.kernel.assign(np.concatenate(values(slow.kernels), axis=-1))
    fast.bias.assign(slow.bias)


def port_filters_flipped(slow, fast):
    fast.kernel.assign(np.concatenate(values(slow.kernels), axis=-1)[::-1])
    fast.bias.assign(slow.bias)


def port_filters_without_bias(slow, fast):
    fast.kernel.assign(np.concatenate(values(slow.kernels), axis=-1))


FILTER_LOOP = Pattern(
    "filter loop",
    FilterLoop,
    (32, 6),
    {"loop-over-filters": "warning"},
    real_shape=(256, 16),
    real_sizes={"filters": 64, "size": 5},
    right={"Conv1D": (fused, port_filters)},
    wrong={
        "flipped kernel": (fused, port_filters_flipped),
        "dropped bias": (fused, port_filters_without_bias),
        "causal padding": (lambda: fused(padding="causal"), port_filters),
        "activation dropped": (lambda: fused(activation=None), port_filters),
    },
)


@register
class GroupConvolution(keras.Layer):
    """A convolution for each group of channels."""

    def __init__(self, groups=6, filters=12, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.filters = filters
        self.convolutions = [
            keras.layers.Conv2D(filters // groups, 3, padding="same") for _ in range(groups)
        ]

    def build(self, input_shape):
        for convolution in self.convolutions:
            convolution.build((*input_shape[:-1], input_shape[-1] // self.groups))

    def call(self, x):
        parts = tf.split(x, self.groups, axis=-1)
        outputs = [conv(part) for conv, part in zip(self.convolutions, parts, strict=True)]
        return tf.concat(outputs, axis=-1)


def grouped(groups=6, filters=12):
    return keras.layers.Conv2D(filters, 3, padding="same", groups=groups)


def port_groups(slow, fast):
    fast.kernel.assign(np.concatenate([np.asarray(c.kernel) for c in slow.convolutions], axis=-1))
    fast.bias.assign(np.concatenate([np.asarray(c.bias) for c in slow.convolutions]))


def port_groups_shuffled(slow, fast):
    order = np.roll(np.arange(slow.groups), 1)
    chosen = [slow.convolutions[i] for i in order]
    fast.kernel.assign(np.concatenate([np.asarray(c.kernel) for c in chosen], axis=-1))
    fast.bias.assign(np.concatenate([np.asarray(c.bias) for c in chosen]))


def port_groups_transposed(slow, fast):
    port_groups(slow, fast)
    fast.kernel.assign(np.swapaxes(np.asarray(fast.kernel), 0, 1))


GROUP_CONVOLUTION = Pattern(
    "group convolution",
    GroupConvolution,
    (8, 8, 12),
    {"loop-over-groups": "warning"},
    real_shape=(32, 32, 64),
    real_sizes={"groups": 8, "filters": 64},
    right={"Conv2D(groups)": (grouped, port_groups)},
    wrong={
        "shuffled groups": (grouped, port_groups_shuffled),
        "transposed kernel": (grouped, port_groups_transposed),
    },
)


@register
class ChannelConvolution(keras.Layer):
    """A convolution for each channel, with a filter of its own."""

    def __init__(self, size=3, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, input_shape):
        self.channels = input_shape[-1]
        self.kernel = self.add_weight(shape=(self.size, 1, self.channels), name="kernel")

    def call(self, x):
        outputs = []
        for c in range(self.channels):
            channel = x[:, :, c : c + 1]
            outputs.append(tf.nn.conv1d(channel, self.kernel[:, :, c : c + 1], 1, "SAME"))
        return tf.concat(outputs, axis=-1)


def depthwise(size=3):
    return keras.layers.DepthwiseConv1D(size, padding="same", use_bias=False)


def port_channels(slow, fast):
    fast.kernel.assign(np.swapaxes(np.asarray(slow.kernel), 1, 2))


def port_channels_reversed(slow, fast):
    fast.kernel.assign(np.swapaxes(np.asarray(slow.kernel), 1, 2)[:, ::-1])


def port_one_channel(slow, fast):
    kernel = np.swapaxes(np.asarray(slow.kernel), 1, 2)
    fast.kernel.assign(np.repeat(kernel[:, :1], kernel.shape[1], axis=1))


CHANNEL_CONVOLUTION = Pattern(
    "per-channel convolution",
    ChannelConvolution,
    (32, 12),
    {"loop-over-channels": "warning"},
    real_shape=(128, 64),
    real_sizes={"size": 3},
    right={"DepthwiseConv1D": (depthwise, port_channels)},
    wrong={
        "channels reversed": (depthwise, port_channels_reversed),
        "one filter for all": (depthwise, port_one_channel),
    },
)


@register
class LoopPooling(keras.Layer):
    """Max pooling, window by window."""

    def __init__(self, size=2, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, x):
        _, height, width, _ = x.shape
        rows = []
        for i in range(height // self.size):
            row = []
            for j in range(width // self.size):
                window = x[
                    :,
                    i * self.size : (i + 1) * self.size,
                    j * self.size : (j + 1) * self.size,
                    :,
                ]
                row.append(tf.reduce_max(window, axis=(1, 2)))
            rows.append(tf.stack(row, axis=1))
        return tf.stack(rows, axis=1)


POOLING = Pattern(
    "pooling",
    LoopPooling,
    (8, 8, 4),
    {"loop-over-positions": "warning"},
    real_shape=(32, 32, 16),
    real_sizes={"size": 2},
    right={"MaxPooling2D": (lambda size=2: keras.layers.MaxPooling2D(size), None)},
    wrong={
        "average": (lambda: keras.layers.AveragePooling2D(2), None),
        "stride 1, cut": (
            lambda: keras.Sequential(
                [keras.layers.MaxPooling2D(2, strides=1), keras.layers.Cropping2D(((0, 3), (0, 3)))]
            ),
            None,
        ),
    },
)


@register
class SpatialAttention(keras.Layer):
    """A weight for each place of the image, from the mean and maximum of its channels."""

    def build(self, input_shape):
        self.channels = input_shape[-1]
        self.mix = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")
        self.mix.build((*input_shape[:-1], 2))

    def call(self, x):
        total = x[..., 0]
        highest = x[..., 0]
        for c in range(1, self.channels):
            total = total + x[..., c]
            highest = tf.maximum(highest, x[..., c])
        mean = total / self.channels
        return x * self.mix(tf.stack([mean, highest], axis=-1))


@register
class FusedSpatialAttention(keras.Layer):
    def __init__(self, scale=1.0, swapped=False, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.swapped = swapped
        self.axis = axis
        self.mix = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")

    def build(self, input_shape):
        self.mix.build((*input_shape[:-1], 2))

    def call(self, x):
        mean = self.scale * ops.mean(x, axis=self.axis, keepdims=True)
        highest = ops.max(x, axis=self.axis, keepdims=True)
        if self.axis != -1:
            mean, highest = (ops.broadcast_to(v, x.shape)[..., :1] for v in (mean, highest))
        pair = [highest, mean] if self.swapped else [mean, highest]
        return x * self.mix(ops.concatenate(pair, axis=-1))


SPATIAL_ATTENTION = Pattern(
    "spatial attention",
    SpatialAttention,
    (8, 8, 16),
    {"loop-over-channels": "warning"},
    real_shape=(32, 32, 32),
    real_sizes={},
    right={"reductions": (FusedSpatialAttention, None)},
    wrong={
        "wrong scale": (lambda: FusedSpatialAttention(scale=1 / 16), None),
        "mean and maximum swapped": (lambda: FusedSpatialAttention(swapped=True), None),
        "wrong axis": (lambda: FusedSpatialAttention(axis=1), None),
    },
)

PATTERNS = [FILTER_LOOP, GROUP_CONVOLUTION, CHANNEL_CONVOLUTION, POOLING, SPATIAL_ATTENTION]
