"""Tensors that the quantizer gave another range than calibration saw, and how to give it back.

Some operators have one scale for input and output: a maximum, a slice, a concatenation. The
quantizer then forces the range of the result on the tensor that was read, and every other reader
of that tensor sees its values cut off, or rounded to steps that are far too wide. Which operators
do so is not written down anywhere, so the quantized file is held against the calibrated one. A
tensor that came out wrong is fixed to its calibrated range with a QUANTIZE and a DEQUANTIZE, which
the quantizer turns into one requantization where the two ranges meet.
"""

from collections import Counter

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.conversion.tflite_graph import BUILTIN, INT8, TFLiteGraph

CUT_OFF = 0.02  # of the calibrated range; rounding its ends to whole steps takes up to 0.004
TOO_WIDE = 2.0
CASTS = {BUILTIN.QUANTIZE, BUILTIN.DEQUANTIZE}
FIXED = {BUILTIN.SOFTMAX, BUILTIN.LOG_SOFTMAX, BUILTIN.LOGISTIC, BUILTIN.TANH}
LEVELS = 255
LOWEST = -128


def restore_ranges(calibrated: bytes, quantized: bytes) -> bytes | None:
    """Fix the tensors that lost their range and are read by several operators.

    Args:
        calibrated: a float .tflite with the ranges of its activations.
        quantized: the int8 file that was made of it.

    Returns:
        The calibrated file with those tensors fixed, to be quantized again; None where there are
        none.
    """
    graph, result = TFLiteGraph(calibrated), TFLiteGraph(quantized)
    lost = _lost(graph, result)
    if not lost:
        return None
    operators = []
    for operator in graph.operators:
        operators.append(operator)
        for place, tensor in enumerate(operator.outputs):
            if int(tensor) in lost:
                operators += _fixed(graph, operator, place)
    graph.operators = operators
    return graph.pack()


def _lost(graph: TFLiteGraph, result: TFLiteGraph) -> set[int]:
    before, after = _computing(graph), _computing(result)
    if [graph.kind(op) for op in before] != [result.kind(op) for op in after]:
        return set()
    readers = Counter(int(index) for op in graph.operators for index in set(op.inputs))
    readers.update(graph.outputs)
    lost = set()
    for old, new in zip(before, after, strict=True):
        if graph.kind(old) in FIXED:
            continue
        for tensor, quantized in zip(old.outputs, new.outputs, strict=True):
            if readers[int(tensor)] > 1 and _is_off(
                graph.range(int(tensor)), result.tensors[quantized]
            ):
                lost.add(int(tensor))
    return lost


def _computing(graph: TFLiteGraph) -> list[schema.OperatorT]:
    return [operator for operator in graph.operators if graph.kind(operator) not in CASTS]


def _is_off(span: tuple[float, float] | None, tensor: schema.TensorT) -> bool:
    scales = tensor.quantization.scale if tensor.quantization else None
    if span is None or tensor.type != INT8 or scales is None or len(scales) != 1:
        return False
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    zero_point = int(tensor.quantization.zeroPoint[0])
    has_low = (LOWEST - zero_point) * float(scales[0])
    has_high = has_low + LEVELS * float(scales[0])
    missing = max(has_low - low, high - has_high)
    return high > low and (
        missing > CUT_OFF * (high - low) or has_high - has_low > TOO_WIDE * (high - low)
    )


def _fixed(graph: TFLiteGraph, operator: schema.OperatorT, place: int) -> list[schema.OperatorT]:
    """Have a result quantized to its own range and back, ahead of everything that reads it."""
    tensor = int(operator.outputs[place])
    low, high = graph.range(tensor)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS
    raw, fixed = graph.add_like(tensor), graph.add_like(tensor)
    entry = graph.tensors[fixed]
    entry.type = INT8
    entry.quantization = schema.QuantizationParametersT()
    entry.quantization.scale = np.float32([scale])
    entry.quantization.zeroPoint = np.int64([round(LOWEST - low / scale)])
    graph.tensors[tensor].quantization = None
    outputs = list(operator.outputs)
    outputs[place] = raw
    operator.outputs = np.asarray(outputs, dtype=np.int32)
    return [
        graph.make_operator(BUILTIN.QUANTIZE, [raw], [fixed]),
        graph.make_operator(BUILTIN.DEQUANTIZE, [fixed], [tensor]),
    ]
