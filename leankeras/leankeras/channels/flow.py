"""How channels pass through layers without weights: merging, pooling, reshaping and the like.

Each function is a rule: it gets the graph, to which it may add, and the call to explain, and
returns the channels of the call's output, or None if they cannot be followed.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class Channels:
    """The channels of one tensor: their axis (the batch is axis 0), and an id for each."""

    axis: int
    ids: np.ndarray


@dataclass(frozen=True)
class Call:
    """One call of a layer or ``keras.ops`` operation in a model's graph.

    Attributes:
        operation: the layer or operation that is called.
        label: its name, prefixed by those of the models it is nested in.
        inputs: the channels of each input tensor, None if they are not followed.
        input_shapes: the shape of each input tensor.
        output_shape: the shape of the first output.
        arguments: all arguments, flat, including tensors.
        repeated: whether the operation is also called elsewhere in the same model.
    """

    operation: Any
    label: str
    inputs: list[Channels | None]
    input_shapes: list[tuple]
    output_shape: tuple
    arguments: list[Any]
    repeated: bool

    @property
    def kind(self) -> str:
        """Name of the layer's or operation's class."""
        return type(self.operation).__name__


def on_last_axis(call: Call, ids: np.ndarray) -> Channels:
    """Channels on the last axis of the call's output."""
    return Channels(len(call.output_shape) - 1, ids)


def unknown(graph: Any, call: Call) -> None:
    """Freeze all channels that reach the call."""
    for channels in call.inputs:
        if channels is not None:
            graph.freeze(channels.ids, f"{call.label} ({call.kind}) cannot be followed")


def elementwise(graph: Any, call: Call) -> Channels | None:
    """An operation that treats every number separately."""
    return call.inputs[0]


def pooling(graph: Any, call: Call) -> Channels | None:
    """An operation on the spatial axes that treats each channel separately."""
    channels = call.inputs[0]
    if channels is None:
        return None
    if getattr(call.operation, "data_format", "channels_last") != "channels_last":
        return unknown(graph, call)
    if channels.axis != len(call.input_shapes[0]) - 1:
        return unknown(graph, call)
    return on_last_axis(call, channels.ids)


def reduction(graph: Any, call: Call) -> Channels | None:
    """A mean, maximum or sum over axes other than that of the channels."""
    channels, operation = call.inputs[0], call.operation
    if channels is None:
        return None
    rank = len(call.input_shapes[0])
    reduced = range(rank) if operation.axis is None else [axis % rank for axis in operation.axis]
    if channels.axis in reduced:
        return unknown(graph, call)
    before = 0 if operation.keepdims else sum(axis < channels.axis for axis in reduced)
    return Channels(channels.axis - before, channels.ids)


def merge(graph: Any, call: Call) -> Channels | None:
    """Add, multiply and the like: inputs of equal width share channels, others are broadcast."""
    if call.kind in ("Divide", "TrueDivide") and isinstance(call.arguments[1], keras.KerasTensor):
        return unknown(graph, call)  # a masked channel would divide by zero
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
    for argument in call.arguments:
        if not isinstance(argument, keras.KerasTensor):
            fixed |= np.ndim(argument) >= -offset and np.shape(argument)[offset] > 1
    for other in members:
        graph.join(members[0].ids, other.ids)
    if fixed:
        graph.freeze(members[0].ids, f"{call.label} joins it with channels that are fixed")
    return Channels(len(call.output_shape) + offset, members[0].ids)


def concatenate(graph: Any, call: Call) -> Channels | None:
    """Channels are concatenated, or shared if another axis grows."""
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


def reshape(graph: Any, call: Call) -> Channels | None:
    """The channel axis is followed if it stays whole or is merged with its neighbours."""
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
    """The target axis of a source axis, and for each position on it the source position.

    Axes ``first`` to ``last`` of the source became one target axis if that axis has the product of
    their sizes and the same number of elements after it. The shortest such block is the answer.
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


def permute(graph: Any, call: Call) -> Channels | None:
    """The channel axis moves."""
    channels, operation = call.inputs[0], call.operation
    if channels is None:
        return None
    if call.kind == "Permute":
        order = (0, *operation.dims)
    else:
        order = operation.axes or tuple(reversed(range(len(call.output_shape))))
    return Channels([axis % len(order) for axis in order].index(channels.axis), channels.ids)


def repeat_vector(graph: Any, call: Call) -> Channels | None:
    """A new axis appears before the channels."""
    channels = call.inputs[0]
    return None if channels is None else on_last_axis(call, channels.ids)
