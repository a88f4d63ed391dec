"""TensorFlow's operations as nodes: one function for each kind, in a table by its name.

A function gets the trace, the operation and its inputs. It returns a node, a tuple of nodes where
the operation has several outputs, or None where it has nothing better than to keep it as it is.
"""

from collections.abc import Callable
from string import ascii_letters
from typing import Any

import numpy as np
import tensorflow as tf

from leankeras.rewriting.node import Node, is_known, size
from leankeras.rewriting.operations import (
    ELEMENTWISE,
    KEPT_AS_THEY_ARE,
    REDUCTIONS,
    SAME_FUNCTION,
    kept_arguments,
)

IMPORTS: dict[str, Callable[[Any, Any, list[Node]], Any]] = {}


def imports(*kinds: str) -> Callable[[Callable], Callable]:
    """Enter a function in the table."""

    def enter(function: Callable) -> Callable:
        IMPORTS.update(dict.fromkeys(kinds, function))
        return function

    return enter


def kept_as_it_is(trace: Any, operation: Any, inputs: list[Node]) -> Any:
    """An operation that is taken over without being understood."""
    if operation.type not in KEPT_AS_THEY_ARE and not all(is_known(each) for each in inputs):
        raise trace.refusal(operation, "rewrite knows nothing of this operation")
    arguments, inferred = [], set()
    for given in operation.op_def.input_arg:
        count = None
        if given.number_attr:
            count = operation.get_attr(given.number_attr)
        elif given.type_list_attr:
            count = len(operation.get_attr(given.type_list_attr))
        arguments.append((given.name, count))
        inferred |= {given.number_attr, given.type_attr, given.type_list_attr}
    settings = tuple(
        (each.name, _plain(operation.get_attr(each.name)))
        for each in operation.op_def.attr
        if each.name not in inferred
    )
    if all(is_known(each) for each in inputs):
        given = {"type": operation.type, "arguments": arguments, "settings": settings}
        call = getattr(tf.raw_ops, operation.type)
        made = call(**kept_arguments(given, [tf.constant(each.value) for each in inputs]))
        values = made if isinstance(made, tuple) else (made,)
        nodes = tuple(trace.graph.constant(value.numpy()) for value in values)
        return nodes if len(nodes) != 1 else nodes[0]
    many = len(operation.outputs) > 1
    made = [
        trace.graph.make(
            "kept",
            *inputs,
            type=operation.type,
            arguments=tuple(arguments),
            settings=settings,
            output=place if many else None,
        )
        for place in range(len(operation.outputs))
    ]
    return tuple(made) if many else made[0]


def _plain(value: Any) -> Any:
    if isinstance(value, tf.DType):
        return value.name
    if isinstance(value, bytes):
        return value.decode()
    return tuple(_plain(each) for each in value) if isinstance(value, list) else value


def _axis(value: Any, rank: int) -> int:
    return int(value) % rank


@imports("Const")
def _constant(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.constant(tf.make_ndarray(operation.get_attr("value")))


@imports("Shape")
def _shape(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.constant(np.array(inputs[0].shape, operation.get_attr("out_type").name))


@imports("Rank", "Size")
def _rank(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    shape = inputs[0].shape
    return trace.graph.constant(np.int32(len(shape) if operation.type == "Rank" else size(shape)))


@imports("ZerosLike", "OnesLike")
def _filled(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    fill = np.zeros if operation.type == "ZerosLike" else np.ones
    return trace.graph.constant(fill(inputs[0].shape, inputs[0].dtype))


@imports(*ELEMENTWISE, *SAME_FUNCTION)
def _elementwise(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.elementwise(operation.type, *inputs)


@imports("LeakyRelu")
def _leaky_relu(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.make("leaky_relu", *inputs, alpha=operation.get_attr("alpha"))


@imports("Cast")
def _cast(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    dtype = operation.get_attr("DstT").name
    return inputs[0] if inputs[0].dtype == dtype else trace.graph.make("cast", *inputs, dtype=dtype)


@imports("AddN")
def _sum_of_many(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    total = inputs[0]
    for each in inputs[1:]:
        total = trace.graph.elementwise("AddV2", total, each)
    return total


@imports("MatMul")
def _matmul(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    left = "ki" if operation.get_attr("transpose_a") else "ik"
    right = "jk" if operation.get_attr("transpose_b") else "kj"
    return trace.graph.product(*inputs, left, right, "ij")


@imports("BatchMatMulV2", "BatchMatMulV3", "BatchMatMul")
def _batch_matmul(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    rank = max(len(each.shape) for each in inputs)
    leading = ascii_letters[3 : rank + 1]
    full = np.broadcast_shapes(
        *[(1,) * (rank - len(each.shape)) + each.shape[:-2] + (1, 1) for each in inputs]
    )

    def side(x: Node, tail: str) -> tuple[Node, str]:
        offset = rank - len(x.shape)
        letters = leading[offset:] + tail
        kept = [
            axis
            for axis in range(len(x.shape))
            if x.shape[axis] > 1 or axis >= len(x.shape) - 2 or full[axis + offset] == 1
        ]
        return trace.graph.reshape(x, [x.shape[axis] for axis in kept]), "".join(
            letters[axis] for axis in kept
        )

    a, left = side(inputs[0], "ba" if operation.get_attr("adj_x") else "ab")
    b, right = side(inputs[1], "cb" if operation.get_attr("adj_y") else "bc")
    return trace.graph.product(a, b, left, right, leading + "ac")


@imports("Einsum")
def _einsum(trace: Any, operation: Any, inputs: list[Node]) -> Node | None:
    left, _, out = operation.get_attr("equation").decode().replace(" ", "").partition("->")
    sides = left.split(",")
    plain = len(inputs) == 2 and "." not in left + out
    if not plain or any(len(set(side)) < len(side) for side in (*sides, out)):
        return None
    for place, (side, other) in enumerate(zip(sides, sides[::-1], strict=True)):
        alone = [axis for axis, name in enumerate(side) if name not in other + out]
        inputs[place] = trace.graph.reduce(inputs[place], "Sum", alone)
        sides[place] = "".join(name for name in side if name in other + out)
    return trace.graph.product(*inputs, *sides, out)


@imports(*REDUCTIONS)
def _reduce(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    x = inputs[0]
    given = np.atleast_1d(trace.known(operation, inputs, 1))
    axes = tuple(sorted(_axis(axis, len(x.shape)) for axis in given))
    reduced = trace.graph.reduce(x, operation.type, axes)
    if operation.get_attr("keep_dims"):
        kept = [1 if axis in axes else length for axis, length in enumerate(x.shape)]
        return trace.graph.reshape(reduced, kept)
    return reduced


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
    axes = [_axis(axis, len(shape)) for axis in operation.get_attr("squeeze_dims")]
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
    axis = _axis(trace.known(operation, inputs, 0 if even else 2), len(x.shape))
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
    axis = _axis(operation.get_attr("axis"), len(x.shape))
    return tuple(g.drop(g.slice(x, axis, p, 1), axis) for p in range(operation.get_attr("num")))


@imports("Pack")
def _pack(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.stack(inputs, operation.get_attr("axis") % (len(inputs[0].shape) + 1))


@imports("ConcatV2")
def _concatenate(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    axis = trace.known(operation, inputs, len(inputs) - 1)
    return trace.graph.concatenate(inputs[:-1], _axis(axis, len(inputs[0].shape)))


@imports("GatherV2")
def _gather(trace: Any, operation: Any, inputs: list[Node]) -> Node | None:
    x, indices = inputs[:2]
    if operation.get_attr("batch_dims"):
        return None
    axis = _axis(trace.known(operation, inputs, 2), len(x.shape))
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
        axis = _axis(axis, len(out.shape))
        out = trace.graph.take(out, axis, np.arange(out.shape[axis])[::-1])
    return out


@imports("Roll")
def _roll(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    out = inputs[0]
    shifts, axes = (np.atleast_1d(trace.known(operation, inputs, place)) for place in (1, 2))
    for shift, axis in zip(shifts, axes, strict=True):
        axis = _axis(axis, len(out.shape))
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


@imports("Softmax")
def _softmax(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.make("softmax", *inputs, axis=len(inputs[0].shape) - 1)


@imports("Cumsum")
def _cumsum(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.make(
        "cumsum",
        inputs[0],
        axis=_axis(trace.known(operation, inputs, 1), len(inputs[0].shape)),
        exclusive=operation.get_attr("exclusive"),
        reverse=operation.get_attr("reverse"),
    )


@imports("ArgMax")
def _argmax(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    axis = _axis(trace.known(operation, inputs, 1), len(inputs[0].shape))
    dtype = operation.get_attr("output_type").name
    return trace.graph.make("argmax", inputs[0], axis=axis, dtype=dtype)


@imports("Conv2D", "DepthwiseConv2dNative")
def _convolution(trace: Any, operation: Any, inputs: list[Node]) -> Node | None:
    padding = operation.get_attr("padding").decode()
    if operation.get_attr("data_format") != b"NHWC" or padding not in ("SAME", "VALID"):
        return None
    return trace.graph.make(
        "convolution" if operation.type == "Conv2D" else "depthwise",
        *inputs,
        strides=tuple(operation.get_attr("strides")[1:3]),
        padding=padding,
        dilations=tuple(operation.get_attr("dilations")[1:3]),
    )
