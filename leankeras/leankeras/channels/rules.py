"""The choice of a layer's rule for its channels, and the rules of layers with weights.

A rule records which channels lie along which axes of the layer's weights. A layer without a rule
freezes the channels that reach it.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from leankeras.channels.flow import (
    Call,
    Channels,
    concatenate,
    elementwise,
    merge,
    on_last_axis,
    permute,
    pooling,
    reduction,
    repeat_vector,
    reshape,
    unknown,
)
from leankeras.errors import ModelError


def _last_axis(graph: Any, call: Call) -> np.ndarray | None:
    """The ids on the last axis of the first input, if a layer's kernel reads them there."""
    channels = call.inputs[0]
    if channels is None:
        return None
    if channels.axis == len(call.input_shapes[0]) - 1:
        return channels.ids
    graph.freeze(channels.ids, f"{call.label} works along another axis")
    return None


def _convolution(graph: Any, call: Call) -> Channels | None:
    layer = call.operation
    if layer.data_format != "channels_last":
        return unknown(graph, call)
    incoming = _last_axis(graph, call)
    if layer.groups > 1:
        return _grouped_convolution(graph, call, incoming)
    filters = graph.produce(call.label, layer.filters)
    graph.record(call, [{-2: incoming, -1: filters}, {0: filters}], filters=filters)
    return on_last_axis(call, filters)


def _grouped_convolution(graph: Any, call: Call, incoming: np.ndarray | None) -> Channels:
    """Every group loses the same positions, so that the groups stay equally wide."""
    layer = call.operation
    groups = layer.groups
    if incoming is not None and len(incoming) == groups:
        filters = np.repeat(incoming, layer.filters // groups)
        graph.record(call, [{-1: filters}, {0: filters}], filters=filters, groups=incoming)
        return on_last_axis(call, filters)
    filters = graph.produce(call.label, layer.filters)
    for ids in (incoming, filters):
        if ids is not None:
            by_group = ids.reshape(groups, -1)
            for other in by_group[1:]:
                graph.join(by_group[0], other)
    first = None if incoming is None else incoming.reshape(groups, -1)[0]
    graph.record(call, [{-2: first, -1: filters}, {0: filters}], filters=filters)
    return on_last_axis(call, filters)


def _transposed_convolution(graph: Any, call: Call) -> Channels | None:
    layer = call.operation
    if layer.data_format != "channels_last":
        return unknown(graph, call)
    incoming = _last_axis(graph, call)
    filters = graph.produce(call.label, layer.filters)
    graph.record(call, [{-2: filters, -1: incoming}, {0: filters}], filters=filters)
    return on_last_axis(call, filters)


def _depthwise_convolution(graph: Any, call: Call) -> Channels | None:
    layer = call.operation
    if layer.data_format != "channels_last":
        return unknown(graph, call)
    incoming = _last_axis(graph, call)
    if incoming is None:
        return None
    outgoing = np.repeat(incoming, layer.depth_multiplier)
    graph.record(call, [{-2: incoming}, {0: outgoing}])
    return on_last_axis(call, outgoing)


def _separable_convolution(graph: Any, call: Call) -> Channels | None:
    layer = call.operation
    if layer.data_format != "channels_last":
        return unknown(graph, call)
    incoming = _last_axis(graph, call)
    between = None if incoming is None else np.repeat(incoming, layer.depth_multiplier)
    filters = graph.produce(call.label, layer.filters)
    graph.record(call, [{-2: incoming}, {-2: between, -1: filters}, {0: filters}], filters=filters)
    return on_last_axis(call, filters)


def _dense(graph: Any, call: Call) -> Channels:
    incoming = _last_axis(graph, call)
    units = graph.produce(call.label, call.operation.units)
    graph.record(call, [{0: incoming, 1: units}, {0: units}], units=units)
    return on_last_axis(call, units)


def _batch_normalization(graph: Any, call: Call) -> Channels | None:
    channels = call.inputs[0]
    if channels is None:
        return None
    if call.operation.axis % len(call.output_shape) != channels.axis:
        return unknown(graph, call)
    graph.record(call, [{0: channels.ids}] * len(call.operation.weights))
    return channels


def _layer_normalization(graph: Any, call: Call) -> Channels | None:
    """Its mean and variance are over the channels, so the masked layer has to leave some out."""
    channels, layer = call.inputs[0], call.operation
    if channels is None:
        return None
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if [axis % len(call.output_shape) for axis in axes] != [channels.axis]:
        return unknown(graph, call)
    graph.record(call, [{0: channels.ids}] * len(layer.weights), normalized=channels.ids)
    return channels


def _prelu(graph: Any, call: Call) -> Channels | None:
    channels = call.inputs[0]
    if channels is None:
        return None
    if call.operation.alpha.shape[channels.axis - 1] > 1:
        graph.record(call, [{channels.axis - 1: channels.ids}])
    return channels


def _channelwise(graph: Any, call: Call) -> Channels | None:
    """A user's layer that declares to treat every channel separately."""
    channels = call.inputs[0]
    if channels is None:
        return None
    layer = call.operation
    axes = layer.channel_axes()
    sizes = [
        None if axis is None else weight.shape[axis]
        for axis, weight in zip(axes, layer.weights, strict=False)
    ]
    if len(axes) != len(layer.weights) or set(sizes) - {None, len(channels.ids)}:
        raise ModelError(
            f"channel_axes() of {call.label} gives {axes} for weights of shapes "
            f"{[tuple(weight.shape) for weight in layer.weights]}; expected for each the axis of "
            f"size {len(channels.ids)} on which the channels lie, or None"
        )
    along = [{} if axis is None else {axis: channels.ids} for axis in axes]
    graph.record(call, along)
    return channels


def is_elementwise(activation: Callable | None) -> bool:
    """Whether an activation treats every channel separately; only Keras's own are known to."""
    if activation is None:
        return True
    mixing = {"softmax", "log_softmax", "sparsemax", "glu"}
    name = getattr(activation, "__name__", "")
    return name not in mixing and getattr(keras.activations, name, None) is activation


_RULES = {
    _convolution: "Conv1D Conv2D Conv3D",
    _transposed_convolution: "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    _depthwise_convolution: "DepthwiseConv1D DepthwiseConv2D",
    _separable_convolution: "SeparableConv1D SeparableConv2D",
    _dense: "Dense",
    _batch_normalization: "BatchNormalization",
    _layer_normalization: "LayerNormalization",
    _prelu: "PReLU",
    elementwise: (
        "Activation ReLU LeakyReLU ELU Identity Dropout GaussianNoise GaussianDropout "
        "ActivityRegularization Relu Relu6 LeakyRelu Elu Selu Gelu Silu Celu Sigmoid HardSigmoid "
        "HardSilu HardTanh LogSigmoid Softplus Softsign Tanh Absolute Abs Negative Square Sqrt "
        "Exp Clip"
    ),
    pooling: (
        "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D "
        "AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D ZeroPadding1D "
        "ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D "
        "UpSampling3D Resizing SpatialDropout1D SpatialDropout2D SpatialDropout3D"
    ),
    reduction: "Mean Max Min Sum",
    merge: "Add Subtract Multiply Divide TrueDivide Maximum Minimum Average",
    concatenate: "Concatenate",
    reshape: "Flatten Reshape Squeeze ExpandDims",
    permute: "Permute Transpose",
    repeat_vector: "RepeatVector",
}
_BY_NAME = {name: rule for rule, names in _RULES.items() for name in names.split()}


def rule_for(operation: Any) -> Callable[[Any, Call], Channels | None]:
    """The rule of one of Keras's layers or operations, or of a layer with ``channel_axes``."""
    if hasattr(operation, "channel_axes"):
        return _channelwise
    if not type(operation).__module__.startswith("keras."):
        return unknown  # a subclass of a known layer may do anything
    return _BY_NAME.get(type(operation).__name__, unknown)
