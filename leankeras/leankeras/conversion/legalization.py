"""Operators that int8 quantization fails on, rewritten as equivalent ones.

LiteRT quantizes neither NEG nor SQUARE, and Keras 3 writes every LayerNormalization,
GroupNormalization and RMSNormalization with one of them. It leaves some SPLITs with an unused part
in float, and the first step of every unrolled LSTM has one, since the forget gate has nothing to
forget yet. Left alone, each would cost casts and a float operator in the middle of an int8 model.
The input and output of REVERSE_V2, which every Bidirectional has, get different scales, but the
kernel copies the integers unchanged, so the values are wrong. NOT_EQUAL, which a Masking layer uses
to find the steps to mask, stays in float, unlike GREATER and LESS.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.conversion.tflite_graph import BUILTIN, FLOAT32, TFLiteGraph


def legalize(graph: TFLiteGraph) -> None:
    """Rewrite NEG and SQUARE as MUL, SPLITs with unused parts as SLICEs, REVERSE_V2 as GATHER.

    NOT_EQUAL of floats becomes GREATER or LESS.

    Args:
        graph: a float .tflite, calibrated or not; changed in place, to the same function without
            those operators.
    """
    affected = {BUILTIN.NEG, BUILTIN.SQUARE, BUILTIN.SPLIT, BUILTIN.REVERSE_V2, BUILTIN.NOT_EQUAL}
    if not any(graph.kind(operator) in affected for operator in graph.operators):
        return
    used = set(graph.outputs) | {int(index) for op in graph.operators for index in op.inputs}
    rewritten = []
    for operator in graph.operators:
        kind = graph.kind(operator)
        if kind in (BUILTIN.NEG, BUILTIN.SQUARE):
            rewritten.append(_multiplication(graph, operator))
        elif kind == BUILTIN.SPLIT and not used.issuperset(operator.outputs):
            rewritten += _slices(graph, operator, used)
        elif kind == BUILTIN.REVERSE_V2 and len(_axes(graph, operator.inputs[1])) == 1:
            rewritten.append(_gather(graph, operator))
        elif kind == BUILTIN.NOT_EQUAL and graph.tensors[operator.inputs[0]].type == FLOAT32:
            rewritten += _comparisons(graph, operator)
        else:
            rewritten.append(operator)
    graph.operators = rewritten


def _multiplication(graph: TFLiteGraph, operator: schema.OperatorT) -> schema.OperatorT:
    value = operator.inputs[0]
    negated = graph.kind(operator) == BUILTIN.NEG
    factor = graph.add_constant(np.float32(-1)) if negated else value
    operator.inputs = np.asarray([value, factor], dtype=np.int32)
    graph.set_kind(operator, BUILTIN.MUL)
    operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
    operator.builtinOptions = schema.MulOptionsT()
    return operator


def _slices(
    graph: TFLiteGraph, operator: schema.OperatorT, used: set[int]
) -> list[schema.OperatorT]:
    axis_tensor, value = operator.inputs
    axis = _axes(graph, axis_tensor)[0]
    slices = []
    for position, output in enumerate(operator.outputs):
        if output not in used:
            continue
        size = np.asarray(graph.tensors[output].shape, dtype=np.int32)
        begin = np.zeros_like(size)
        begin[axis] = position * size[axis]
        starts, sizes = graph.add_constant(begin), graph.add_constant(size)
        piece = graph.make_operator(BUILTIN.SLICE, [value, starts, sizes], [output])
        piece.builtinOptionsType = schema.BuiltinOptions.SliceOptions
        piece.builtinOptions = schema.SliceOptionsT()
        slices.append(piece)
    return slices


def _gather(graph: TFLiteGraph, operator: schema.OperatorT) -> schema.OperatorT:
    value, axis_tensor = operator.inputs
    axis = int(_axes(graph, axis_tensor)[0])
    backwards = np.arange(graph.tensors[value].shape[axis], dtype=np.int32)[::-1]
    operator.inputs = np.asarray([value, graph.add_constant(backwards)], dtype=np.int32)
    graph.set_kind(operator, BUILTIN.GATHER)
    operator.builtinOptionsType = schema.BuiltinOptions.GatherOptions
    operator.builtinOptions = schema.GatherOptionsT()
    operator.builtinOptions.axis = axis
    return operator


def _comparisons(graph: TFLiteGraph, operator: schema.OperatorT) -> list[schema.OperatorT]:
    greater, less = (graph.add_like(operator.outputs[0]) for _ in range(2))
    above = graph.make_operator(BUILTIN.GREATER, list(operator.inputs), [greater])
    above.builtinOptionsType = schema.BuiltinOptions.GreaterOptions
    above.builtinOptions = schema.GreaterOptionsT()
    below = graph.make_operator(BUILTIN.LESS, list(operator.inputs), [less])
    below.builtinOptionsType = schema.BuiltinOptions.LessOptions
    below.builtinOptions = schema.LessOptionsT()
    either = graph.make_operator(BUILTIN.LOGICAL_OR, [greater, less], list(operator.outputs))
    either.builtinOptionsType = schema.BuiltinOptions.LogicalOrOptions
    either.builtinOptions = schema.LogicalOrOptionsT()
    return [above, below, either]


def _axes(graph: TFLiteGraph, tensor: int) -> np.ndarray:
    """The axes of an operator, if they are constants; empty if they are computed."""
    values = graph.values(tensor)
    return np.asarray([], np.int32) if values is None else values.reshape(-1)
