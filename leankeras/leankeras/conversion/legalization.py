"""Operators that int8 quantization fails on, rewritten as ones that compute the same.

LiteRT quantizes neither NEG nor SQUARE, and Keras 3 writes every LayerNormalization,
GroupNormalization and RMSNormalization with one of them. It leaves some SPLITs of which a part is
unused in float, and the first step of every unrolled LSTM has such a one, since the forget gate
has nothing to forget yet. Left alone, each would cost casts and a float operator in the middle of
an int8 model. Of REVERSE_V2, which every Bidirectional has, it gives input and output two scales,
but the kernel copies the integers as they are, so that the values come out wrong.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.runtime import IDENTIFIER

NEG = schema.BuiltinOperator.NEG
SQUARE = schema.BuiltinOperator.SQUARE
REVERSE = schema.BuiltinOperator.REVERSE_V2
SPLIT = schema.BuiltinOperator.SPLIT


def legalize(content: bytes) -> bytes:
    """Rewrite NEG and SQUARE as MUL, SPLITs with unused parts as SLICEs, REVERSE_V2 as GATHER.

    Args:
        content: a float .tflite, calibrated or not.

    Returns:
        The same function as a .tflite without those operators.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = [
        max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes or []
    ]
    if not {NEG, SQUARE, SPLIT, REVERSE} & set(kinds):
        return content
    for graph in model.subgraphs:
        used = {index for operator in graph.operators for index in operator.inputs}
        used |= set(graph.outputs)
        rewritten = []
        for operator in graph.operators:
            kind = kinds[operator.opcodeIndex]
            if kind in (NEG, SQUARE):
                rewritten.append(_multiplication(model, graph, kinds, operator))
            elif kind == SPLIT and not used.issuperset(operator.outputs):
                rewritten += _slices(model, graph, kinds, operator, used)
            elif kind == REVERSE and len(_values(model, graph, operator.inputs[1])) == 1:
                rewritten.append(_gather(model, graph, kinds, operator))
            else:
                rewritten.append(operator)
        graph.operators = rewritten
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _multiplication(
    model: schema.ModelT,
    graph: schema.SubGraphT,
    kinds: list[int],
    operator: schema.OperatorT,
) -> schema.OperatorT:
    value = operator.inputs[0]
    factor = value
    if kinds[operator.opcodeIndex] == NEG:
        factor = _constant(model, graph, np.float32(-1))
    operator.inputs = np.asarray([value, factor], dtype=np.int32)
    operator.opcodeIndex = _operator_code(model, kinds, schema.BuiltinOperator.MUL)
    operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
    operator.builtinOptions = schema.MulOptionsT()
    return operator


def _slices(
    model: schema.ModelT,
    graph: schema.SubGraphT,
    kinds: list[int],
    operator: schema.OperatorT,
    used: set[int],
) -> list[schema.OperatorT]:
    axis_tensor, value = operator.inputs
    axis = _values(model, graph, axis_tensor)[0]
    slices = []
    for position, output in enumerate(operator.outputs):
        if output not in used:
            continue
        size = np.asarray(graph.tensors[output].shape, dtype=np.int32)
        begin = np.zeros_like(size)
        begin[axis] = position * size[axis]
        piece = schema.OperatorT()
        piece.opcodeIndex = _operator_code(model, kinds, schema.BuiltinOperator.SLICE)
        piece.builtinOptionsType = schema.BuiltinOptions.SliceOptions
        piece.builtinOptions = schema.SliceOptionsT()
        starts, sizes = _constant(model, graph, begin), _constant(model, graph, size)
        piece.inputs = np.asarray([value, starts, sizes], dtype=np.int32)
        piece.outputs = np.asarray([output], dtype=np.int32)
        slices.append(piece)
    return slices


def _gather(
    model: schema.ModelT,
    graph: schema.SubGraphT,
    kinds: list[int],
    operator: schema.OperatorT,
) -> schema.OperatorT:
    value, axis_tensor = operator.inputs
    axis = int(_values(model, graph, axis_tensor)[0])
    backwards = np.arange(graph.tensors[value].shape[axis], dtype=np.int32)[::-1]
    operator.inputs = np.asarray([value, _constant(model, graph, backwards)], dtype=np.int32)
    operator.opcodeIndex = _operator_code(model, kinds, schema.BuiltinOperator.GATHER)
    operator.builtinOptionsType = schema.BuiltinOptions.GatherOptions
    operator.builtinOptions = schema.GatherOptionsT()
    operator.builtinOptions.axis = axis
    return operator


def _values(model: schema.ModelT, graph: schema.SubGraphT, tensor: int) -> np.ndarray:
    """A constant tensor of 32-bit integers, without its shape; empty if it is not constant."""
    data = model.buffers[graph.tensors[tensor].buffer].data
    return np.asarray([], np.int32) if data is None else np.asarray(data).view(np.int32)


def _operator_code(model: schema.ModelT, kinds: list[int], kind: int) -> int:
    if kind in kinds:
        return kinds.index(kind)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = 1
    model.operatorCodes.append(code)
    kinds.append(kind)
    return len(kinds) - 1


def _constant(model: schema.ModelT, graph: schema.SubGraphT, value: np.ndarray) -> int:
    value = np.asarray(value)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(value.tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name = f"constant_{len(model.buffers)}".encode()
    tensor.type = schema.TensorType.INT32 if value.dtype == np.int32 else schema.TensorType.FLOAT32
    tensor.shape = np.asarray(value.shape, dtype=np.int32)
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
