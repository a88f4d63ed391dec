"""Rows of the table in :mod:`.importing`: what moves numbers about."""

from typing import Any

import numpy as np

from leankeras.rewriting.importing import axis_of, imports
from leankeras.rewriting.node import Node, size


@imports("Reshape")
def _reshape(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    shape = trace.known(operation, inputs, 1)
    given = size(length for length in shape if length >= 0)
    rest = size(inputs[0].shape) // max(1, given)
    return trace.graph.reshape(inputs[0], [rest if n < 0 else n for n in shape])


@imports("ExpandDims")
def _expand(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    axis = int(trace.known(operation, inputs, 1)) % (len(inputs[0].shape) + 1)
    return trace.graph.expand(inputs[0], axis)


@imports("Squeeze")
def _squeeze(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    shape = inputs[0].shape
    axes = [axis_of(axis, len(shape)) for axis in operation.get_attr("squeeze_dims")]
    axes = axes or [axis for axis, length in enumerate(shape) if length == 1]
    return trace.graph.reshape(
        inputs[0], [length for axis, length in enumerate(shape) if axis not in axes]
    )


@imports("Transpose")
def _transpose(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.transpose(inputs[0], trace.known(operation, inputs, 1))


@imports("StridedSlice")
def _strided_slice(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    g, x = trace.graph, inputs[0]
    begin, end, step = (trace.known(operation, inputs, place) for place in (1, 2, 3))

    def has(mask: str, place: int) -> bool:
        return bool(operation.get_attr(f"{mask}_mask") >> place & 1)

    count = len(begin)
    ellipsis = next((place for place in range(count) if has("ellipsis", place)), count)
    new = [p for p in range(count) if has("new_axis", p) and p != ellipsis]
    used = count - len(new) - (ellipsis < count)
    out, shape, axis = x, [], 0
    for place in range(count):
        if place == ellipsis:
            skipped = len(x.shape) - used
            shape += x.shape[axis : axis + skipped]
            axis += skipped
        elif place in new:
            shape.append(1)
        else:
            length = x.shape[axis]
            if has("shrink_axis", place):
                out = g.slice(out, axis, int(begin[place]) % length, 1)
            else:
                low = None if has("begin", place) else int(begin[place])
                high = None if has("end", place) else int(end[place])
                taken = list(range(*slice(low, high, int(step[place])).indices(length)))
                if taken:
                    out = g.take(out, axis, taken)
                else:
                    empty = [0 if a == axis else n for a, n in enumerate(out.shape)]
                    out = g.constant(np.zeros(empty, out.dtype))
                shape.append(len(taken))
            axis += 1
    return g.reshape(out, [*shape, *x.shape[axis:]])


@imports("Slice")
def _slice(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    out = inputs[0]
    begin, counts = (trace.known(operation, inputs, place) for place in (1, 2))
    for axis, (start, count) in enumerate(zip(begin, counts, strict=True)):
        count = count if count >= 0 else out.shape[axis] - start
        out = trace.graph.slice(out, axis, start, count)
    return out


@imports("Split", "SplitV")
def _split(trace: Any, operation: Any, inputs: list[Node]) -> tuple[Node, ...]:
    even = operation.type == "Split"
    x = inputs[1 if even else 0]
    axis = axis_of(trace.known(operation, inputs, 0 if even else 2), len(x.shape))
    if even:
        count = operation.get_attr("num_split")
        lengths = [x.shape[axis] // count] * count
    else:
        lengths = [int(each) for each in trace.known(operation, inputs, 1)]
        lengths = [n if n >= 0 else x.shape[axis] - sum(lengths) - 1 for n in lengths]
    starts = np.cumsum([0, *lengths])
    return tuple(
        trace.graph.slice(x, axis, start, length)
        for start, length in zip(starts, lengths, strict=False)
    )


@imports("Unpack")
def _unpack(trace: Any, operation: Any, inputs: list[Node]) -> tuple[Node, ...]:
    (x,), g = inputs, trace.graph
    axis = axis_of(operation.get_attr("axis"), len(x.shape))
    return tuple(g.drop(g.slice(x, axis, p, 1), axis) for p in range(operation.get_attr("num")))


@imports("Pack")
def _pack(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.stack(inputs, operation.get_attr("axis") % (len(inputs[0].shape) + 1))


@imports("ConcatV2")
def _concatenate(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    axis = trace.known(operation, inputs, len(inputs) - 1)
    return trace.graph.concatenate(inputs[:-1], axis_of(axis, len(inputs[0].shape)))


@imports("GatherV2")
def _gather(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    x, indices = inputs[:2]
    axis = axis_of(trace.known(operation, inputs, 2), len(x.shape))
    batch_dims = operation.get_attr("batch_dims")
    if batch_dims:
        return trace.graph.make("batch_gather", x, indices, axis=axis, batch_dims=batch_dims)
    if indices.depends:
        return trace.graph.make("gather", x, indices, axis=axis)
    positions = indices.value % x.shape[axis]
    if positions.ndim > 1:
        return trace.graph.gather(x, axis, positions)
    out = trace.graph.take(x, axis, positions.reshape(-1))
    return out if positions.ndim else trace.graph.drop(out, axis)


@imports("ReverseV2")
def _reverse(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    out = inputs[0]
    for axis in np.atleast_1d(trace.known(operation, inputs, 1)):
        axis = axis_of(axis, len(out.shape))
        out = trace.graph.take(out, axis, np.arange(out.shape[axis])[::-1])
    return out


@imports("Roll")
def _roll(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    out = inputs[0]
    shifts, axes = (np.atleast_1d(trace.known(operation, inputs, place)) for place in (1, 2))
    for shift, axis in zip(shifts, axes, strict=True):
        axis = axis_of(axis, len(out.shape))
        out = trace.graph.take(out, axis, np.roll(np.arange(out.shape[axis]), shift))
    return out


@imports("Pad", "PadV2")
def _pad(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    out, g = inputs[0], trace.graph
    value = trace.known(operation, inputs, 2) if operation.type == "PadV2" else 0
    for axis, (before, after) in enumerate(trace.known(operation, inputs, 1)):
        sides = [
            g.constant(np.full([n if a == axis else m for a, m in enumerate(out.shape)], value,
                               out.dtype))
            for n in (before, after)
        ]  # fmt: skip
        out = g.concatenate([sides[0], out, sides[1]], axis)
    return out


@imports("BroadcastTo")
def _broadcast(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    (x, _), shape = inputs, tuple(int(n) for n in trace.known(operation, inputs, 1))
    x = trace.graph.reshape(x, (1,) * (len(shape) - len(x.shape)) + x.shape)
    return trace.graph.broadcast(x, shape)


@imports("Fill")
def _fill(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    shape = tuple(int(n) for n in trace.known(operation, inputs, 0))
    return trace.graph.broadcast(trace.graph.reshape(inputs[1], (1,) * len(shape)), shape)


@imports("Tile")
def _tile(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    out = inputs[0]
    for axis, times in enumerate(int(n) for n in trace.known(operation, inputs, 1)):
        if times > 1 and out.shape[axis] == 1:
            out = trace.graph.broadcast(out, (*out.shape[:axis], times, *out.shape[axis + 1 :]))
        elif times > 1:
            out = trace.graph.take(out, axis, np.tile(np.arange(out.shape[axis]), times))
    return out
