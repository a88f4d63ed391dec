"""What each kind of layer does to the channels of the tensors that pass through it.

A rule gets the graph it may add to and the call it has to explain, and returns the channels of
the call's output, or None where they cannot be followed. A layer without a rule freezes the
channels that reach it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class Channels:
    """The channels of one tensor: the axis they lie on (the batch is axis 0), an id for each."""

    axis: int
    ids: np.ndarray


@dataclass(frozen=True)
class Call:
    """One call of a layer or ``keras.ops`` operation in a model's graph."""

    operation: Any
    label: str
    inputs: list[Channels | None]
    input_shapes: list[tuple]
    output_shape: tuple
    constants: list[Any]
    repeated: bool

    @property
    def kind(self) -> str:
        """Name of the layer's or operation's class."""
        return type(self.operation).__name__


def _last_axis(graph: Any, call: Call) -> np.ndarray | None:
    """The ids on the last axis of the first input, where a layer's kernel reads them."""
    channels = call.inputs[0]
    if channels is None:
        return None
    if channels.axis == len(call.input_shapes[0]) - 1:
        return channels.ids
    graph.freeze(channels.ids, f"{call.label} works along another axis")
    return None


def _on_last_axis(call: Call, ids: np.ndarray) -> Channels:
    return Channels(len(call.output_shape) - 1, ids)


def _convolution(graph: Any, call: Call) -> Channels | None:
    layer = call.operation
    if layer.data_format != "channels_last":
        return unknown(graph, call)
    incoming = _last_axis(graph, call)
    if layer.groups > 1:
        return _grouped_convolution(graph, call, incoming)
    filters = graph.produce(call.label, layer.filters)
    graph.record(call, [{-2: incoming, -1: filters}, {0: filters}], filters=filters)
    return _on_last_axis(call, filters)


def _grouped_convolution(graph: Any, call: Call, incoming: np.ndarray | None) -> Channels:
    """Every group gives up the same positions, so that the groups stay equally wide."""
    layer = call.operation
    groups = layer.groups
    if incoming is not None and len(incoming) == groups:
        filters = np.repeat(incoming, layer.filters // groups)
        graph.record(call, [{-1: filters}, {0: filters}], filters=filters, groups=incoming)
        return _on_last_axis(call, filters)
    filters = graph.produce(call.label, layer.filters)
    for ids in (incoming, filters):
        if ids is not None:
            by_group = ids.reshape(groups, -1)
            for other in by_group[1:]:
                graph.join(by_group[0], other)
    first = None if incoming is None else incoming.reshape(groups, -1)[0]
    graph.record(call, [{-2: first, -1: filters}, {0: filters}], filters=filters)
    return _on_last_axis(call, filters)


def _transposed_convolution(graph: Any, call: Call) -> Channels | None:
    layer = call.operation
    if layer.data_format != "channels_last":
        return unknown(graph, call)
    incoming = _last_axis(graph, call)
    filters = graph.produce(call.label, layer.filters)
    graph.record(call, [{-2: filters, -1: incoming}, {0: filters}], filters=filters)
    return _on_last_axis(call, filters)


def _depthwise_convolution(graph: Any, call: Call) -> Channels | None:
    layer = call.operation
    if layer.data_format != "channels_last":
        return unknown(graph, call)
    incoming = _last_axis(graph, call)
    if incoming is None:
        return None
    outgoing = np.repeat(incoming, layer.depth_multiplier)
    graph.record(call, [{-2: incoming}, {0: outgoing}])
    return _on_last_axis(call, outgoing)


def _separable_convolution(graph: Any, call: Call) -> Channels | None:
    layer = call.operation
    if layer.data_format != "channels_last":
        return unknown(graph, call)
    incoming = _last_axis(graph, call)
    between = None if incoming is None else np.repeat(incoming, layer.depth_multiplier)
    filters = graph.produce(call.label, layer.filters)
    graph.record(call, [{-2: incoming}, {-2: between, -1: filters}, {0: filters}], filters=filters)
    return _on_last_axis(call, filters)


def _dense(graph: Any, call: Call) -> Channels:
    incoming = _last_axis(graph, call)
    units = graph.produce(call.label, call.operation.units)
    graph.record(call, [{0: incoming, 1: units}, {0: units}], units=units)
    return _on_last_axis(call, units)


def _batch_normalization(graph: Any, call: Call) -> Channels | None:
    channels = call.inputs[0]
    if channels is None:
        return None
    if call.operation.axis % len(call.output_shape) != channels.axis:
        return unknown(graph, call)
    graph.record(call, [{0: channels.ids}] * len(call.operation.weights))
    return channels


def _layer_normalization(graph: Any, call: Call) -> Channels | None:
    """Its mean and variance run over the channels, so the masked layer has to leave some out."""
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


def _elementwise(graph: Any, call: Call) -> Channels | None:
    return call.inputs[0]


def _pooling(graph: Any, call: Call) -> Channels | None:
    """Anything that works on the spatial axes of each channel by itself."""
    channels = call.inputs[0]
    if channels is None:
        return None
    if getattr(call.operation, "data_format", "channels_last") != "channels_last":
        return unknown(graph, call)
    if channels.axis != len(call.input_shapes[0]) - 1:
        return unknown(graph, call)
    return _on_last_axis(call, channels.ids)


def _reduction(graph: Any, call: Call) -> Channels | None:
    channels, operation = call.inputs[0], call.operation
    if channels is None:
        return None
    rank = len(call.input_shapes[0])
    reduced = range(rank) if operation.axis is None else [axis % rank for axis in operation.axis]
    if channels.axis in reduced:
        return unknown(graph, call)
    before = 0 if operation.keepdims else sum(axis < channels.axis for axis in reduced)
    return Channels(channels.axis - before, channels.ids)


def _merge(graph: Any, call: Call) -> Channels | None:
    """Add, multiply and their like: equally wide inputs share channels, others are broadcast."""
    offsets = {
        channels.axis - len(shape)
        for channels, shape in zip(call.inputs, call.input_shapes, strict=True)
        if channels is not None
        and call.output_shape[channels.axis - len(shape)] == len(channels.ids)
    }
    if not offsets:
        return None
    offset = offsets.pop()
    if offsets:
        return unknown(graph, call)
    width = call.output_shape[offset]
    members, fixed = [], False
    for channels, shape in zip(call.inputs, call.input_shapes, strict=True):
        if len(shape) >= -offset and shape[offset] == width:
            if channels is None:
                fixed = True
            else:
                members.append(channels)
    for constant in call.constants:
        fixed |= np.ndim(constant) >= -offset and np.shape(constant)[offset] > 1
    for other in members:
        graph.join(members[0].ids, other.ids)
    if fixed:
        graph.freeze(members[0].ids, f"{call.label} joins it with channels that are fixed")
    return Channels(len(call.output_shape) + offset, members[0].ids)


def _concatenate(graph: Any, call: Call) -> Channels | None:
    tracked = [channels for channels in call.inputs if channels is not None]
    if not tracked:
        return None
    axis = tracked[0].axis
    if any(channels.axis != axis for channels in tracked):
        return unknown(graph, call)
    reason = f"{call.label} joins it with channels that are fixed"
    every_part = [
        channels.ids if channels is not None else graph.fixed(shape[axis], reason)
        for channels, shape in zip(call.inputs, call.input_shapes, strict=True)
    ]
    if call.operation.axis % len(call.output_shape) == axis:
        return Channels(axis, np.concatenate(every_part))
    for other in every_part[1:]:
        graph.join(every_part[0], other)
    return Channels(axis, every_part[0])


def _reshape(graph: Any, call: Call) -> Channels | None:
    """The channel axis is followed where it stays whole or is merged with its neighbours."""
    channels, source, target = call.inputs[0], call.input_shapes[0], call.output_shape
    if channels is None:
        return None
    if call.repeated:  # one target shape cannot serve two calls
        return unknown(graph, call)
    followed = _follow_axis(source, channels.axis, target)
    if followed is None:
        return unknown(graph, call)
    axis, positions = followed
    ids = channels.ids[positions]
    for argument, first in (("target_shape", 1), ("newshape", 0)):
        shape = getattr(call.operation, argument, None)
        if shape is not None and shape[axis - first] != -1:
            resized = (*shape[: axis - first], ids, *shape[axis - first + 1 :])
            graph.record(call, [], **{argument: resized})
    return Channels(axis, ids)


def _follow_axis(source: tuple, axis: int, target: tuple) -> tuple[int, np.ndarray] | None:
    """Where the axis went: the target axis, and for each position on it the source position.

    Axes ``first`` to ``last`` of the source became one target axis when that axis has their
    product as size and as many elements behind it. The shortest such block is the answer.
    """
    blocks = [(first, last) for first in range(1, axis + 1) for last in range(axis, len(source))]
    for first, last in sorted(blocks, key=lambda block: block[1] - block[0]):
        block, behind = source[first : last + 1], source[last + 1 :]
        if None in block or None in behind:
            continue
        for candidate in range(1, len(target)):
            rest = target[candidate + 1 :]
            if None not in rest and target[candidate] == prod(block) and prod(rest) == prod(behind):
                return candidate, np.indices(block)[axis - first].ravel()
    return None


def _permute(graph: Any, call: Call) -> Channels | None:
    channels, operation = call.inputs[0], call.operation
    if channels is None:
        return None
    if call.kind == "Permute":
        order = (0, *operation.dims)
    else:
        order = operation.axes or tuple(reversed(range(len(call.output_shape))))
    return Channels([axis % len(order) for axis in order].index(channels.axis), channels.ids)


def _repeat_vector(graph: Any, call: Call) -> Channels | None:
    channels = call.inputs[0]
    return None if channels is None else _on_last_axis(call, channels.ids)


def unknown(graph: Any, call: Call) -> None:
    """Freeze all channels that reach the call."""
    for channels in call.inputs:
        if channels is not None:
            graph.freeze(channels.ids, f"{call.label} ({call.kind}) cannot be followed")


def is_elementwise(activation: Callable | None) -> bool:
    """Whether an activation treats every channel by itself; only Keras's own are known to."""
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
    _elementwise: (
        "Activation ReLU LeakyReLU ELU Identity Dropout GaussianNoise GaussianDropout "
        "ActivityRegularization Relu Relu6 LeakyRelu Elu Selu Gelu Silu Celu Sigmoid HardSigmoid "
        "HardSilu HardTanh LogSigmoid Softplus Softsign Tanh Absolute Abs Negative Square Sqrt "
        "Rsqrt Exp Clip"
    ),
    _pooling: (
        "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D "
        "AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D ZeroPadding1D "
        "ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D "
        "UpSampling3D Resizing SpatialDropout1D SpatialDropout2D SpatialDropout3D"
    ),
    _reduction: "Mean Max Min Sum",
    _merge: "Add Subtract Multiply Divide Maximum Minimum Average Power",
    _concatenate: "Concatenate",
    _reshape: "Flatten Reshape Squeeze ExpandDims",
    _permute: "Permute Transpose",
    _repeat_vector: "RepeatVector",
}
_BY_NAME = {name: rule for rule, names in _RULES.items() for name in names.split()}


def rule_for(operation: Any) -> Callable[[Any, Call], Channels | None]:
    """The rule of a layer or operation of Keras's own; a user's subclass may do anything."""
    if not type(operation).__module__.startswith("keras."):
        return unknown
    return _BY_NAME.get(type(operation).__name__, unknown)
