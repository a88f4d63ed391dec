"""Operators without an int8 kernel, rewritten as ones that have one and compute the same.

LiteRT quantizes neither NEG nor SQUARE, and Keras 3 writes every LayerNormalization,
GroupNormalization and RMSNormalization with one of them. Left alone, each would cost two casts and
a float operator in the middle of an int8 model.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kopt.deployment.flatbuffer import IDENTIFIER

REWRITTEN = (schema.BuiltinOperator.NEG, schema.BuiltinOperator.SQUARE)


def legalize(content: bytes) -> bytes:
    """Rewrite NEG and SQUARE as MUL.

    Args:
        content: a float .tflite, calibrated or not.

    Returns:
        The same function as a .tflite without those operators.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    if not set(REWRITTEN) & set(kinds):
        return content
    multiply = _operator_code(model, kinds, schema.BuiltinOperator.MUL)
    for graph in model.subgraphs:
        minus_one = None
        for operator in graph.operators:
            if kinds[operator.opcodeIndex] not in REWRITTEN:
                continue
            value = operator.inputs[0]
            factor = value
            if kinds[operator.opcodeIndex] == schema.BuiltinOperator.NEG:
                if minus_one is None:
                    minus_one = _constant(model, graph, "minus_one", -1.0)
                factor = minus_one
            operator.inputs = np.asarray([value, factor], dtype=np.int32)
            operator.opcodeIndex = multiply
            operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
            operator.builtinOptions = schema.MulOptionsT()
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _operator_code(model: schema.ModelT, kinds: list[int], kind: int) -> int:
    if kind in kinds:
        return kinds.index(kind)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = 1
    model.operatorCodes.append(code)
    kinds.append(kind)
    return len(kinds) - 1


def _constant(model: schema.ModelT, graph: schema.SubGraphT, name: str, value: float) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.float32(value).tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name = name.encode()
    tensor.type = schema.TensorType.FLOAT32
    tensor.shape = np.asarray([], dtype=np.int32)
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
