"""Rows of the table in :mod:`.importing`: what computes."""

from string import ascii_letters
from typing import Any

import numpy as np
import tensorflow as tf

from leankeras.rewriting.functions import ELEMENTWISE, REDUCTIONS, SAME_FUNCTION
from leankeras.rewriting.importing import axis_of, imports
from leankeras.rewriting.node import Node, size


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
    axes = tuple(sorted(axis_of(axis, len(x.shape)) for axis in given))
    reduced = trace.graph.reduce(x, operation.type, axes)
    if operation.get_attr("keep_dims"):
        kept = [1 if axis in axes else length for axis, length in enumerate(x.shape)]
        return trace.graph.reshape(reduced, kept)
    return reduced


@imports("Softmax")
def _softmax(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.make("softmax", *inputs, axis=len(inputs[0].shape) - 1)


@imports("Cumsum")
def _cumsum(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    return trace.graph.make(
        "cumsum",
        inputs[0],
        axis=axis_of(trace.known(operation, inputs, 1), len(inputs[0].shape)),
        exclusive=operation.get_attr("exclusive"),
        reverse=operation.get_attr("reverse"),
    )


@imports("ArgMax")
def _argmax(trace: Any, operation: Any, inputs: list[Node]) -> Node:
    axis = axis_of(trace.known(operation, inputs, 1), len(inputs[0].shape))
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
