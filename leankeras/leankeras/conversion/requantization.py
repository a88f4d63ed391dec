"""Restore the calibrated range of tensors to which the quantizer gave a different one.

Some operators have one scale for input and output: a maximum, a slice, a concatenation. The
quantizer then forces the range of the result on the input tensor, and every other reader of that
tensor sees its values cut off, or rounded to steps that are far too wide. Which operators do so is
not documented, so the quantized file is compared with the calibrated one. A tensor with a wrong
range is fixed to its calibrated range with a QUANTIZE and a DEQUANTIZE, which the quantizer turns
into one requantization where the two ranges meet.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.conversion.tflite_graph import BUILTIN, INT8, TFLiteGraph

CUT_OFF = 0.02  # of the calibrated range; rounding its ends to whole steps takes up to 0.004
TOO_WIDE = 4.0  # two bits of eight
CASTS = {BUILTIN.QUANTIZE, BUILTIN.DEQUANTIZE}
FIXED = {BUILTIN.SOFTMAX, BUILTIN.LOG_SOFTMAX, BUILTIN.LOGISTIC, BUILTIN.TANH}
LEVELS = 255
LOWEST = -128
Range = tuple[float, float]


def restore_ranges(
    calibrated: bytes, quantized: bytes, quantize: Callable[[bytes], bytes]
) -> bytes:
    """Restore the range of tensors that lost it and are read by several operators.

    Args:
        calibrated: a float .tflite with the ranges of its activations.
        quantized: the int8 file made from it.
        quantize: makes an int8 file from a calibrated one.

    Returns:
        The int8 file, remade if that helps.
    """
    graph, result = TFLiteGraph(calibrated), TFLiteGraph(quantized)
    found = _compare(graph, result)
    if not found.lost:
        return quantized
    operators = []
    for operator in graph.operators:
        operators.append(operator)
        for place, tensor in enumerate(operator.outputs):
            if int(tensor) in found.lost:
                operators += _fixed(graph, operator, place, found.lost[int(tensor)])
    graph.operators = operators
    try:
        restored = quantize(graph.pack())
    except RuntimeError:  # two of the ranges meet in an operator that has one scale
        return quantized
    # The quantizer may force the fixed range on another tensor.
    after = _compare(TFLiteGraph(calibrated), TFLiteGraph(restored))
    better = len(after.lost) < len(found.lost) and after.cut_off <= found.cut_off
    return restored if better else quantized


@dataclass
class _Comparison:
    """How the ranges of a quantized file differ from those of calibration.

    Attributes:
        lost: tensors that several operators read, mapped to the range they should have.
        cut_off: by how much all ranges are too short in total, each relative to its width.
    """

    lost: dict[int, Range] = field(default_factory=dict)
    cut_off: float = 0.0


def _compare(graph: TFLiteGraph, result: TFLiteGraph) -> _Comparison:
    found = _Comparison()
    before, after = _computing(graph), _computing(result)
    if [graph.kind(op) for op in before] != [result.kind(op) for op in after]:
        return found
    readers = Counter(int(index) for op in graph.operators for index in set(op.inputs))
    readers.update(graph.outputs)
    due: dict[int, Range] = {}
    for old, new in zip(before, after, strict=True):
        sources = [_int8_range(result, int(index)) for index in new.inputs]
        results = [_int8_range(result, int(index)) for index in new.outputs]
        for tensor, has in zip(map(int, old.inputs), sources, strict=True):
            if tensor in due and has and has not in results:
                _note(found, tensor, due[tensor], has)
        for tensor, has in zip(map(int, old.outputs), results, strict=True):
            span = graph.range(tensor)
            if not has or not span:
                continue
            wanted = has if graph.kind(old) in FIXED else (min(span[0], 0.0), max(span[1], 0.0))
            found.cut_off += _missing(wanted, has)
            if readers[tensor] > 1:
                # A slice has the scale of what it is cut from, however little of it is used.
                shared = has in sources and _missing(wanted, has) <= CUT_OFF
                due[tensor] = has if shared else wanted
                _note(found, tensor, due[tensor], has)
    return found


def _note(found: _Comparison, tensor: int, wanted: Range, has: Range) -> None:
    width = wanted[1] - wanted[0]
    if _missing(wanted, has) > CUT_OFF or (width and has[1] - has[0] > TOO_WIDE * width):
        found.lost[tensor] = wanted


def _missing(wanted: Range, has: Range) -> float:
    """The share of a range that another one does not cover."""
    width = wanted[1] - wanted[0]
    return max(0.0, has[0] - wanted[0], wanted[1] - has[1]) / width if width > 0 else 0.0


def _computing(graph: TFLiteGraph) -> list[schema.OperatorT]:
    return [operator for operator in graph.operators if graph.kind(operator) not in CASTS]


def _int8_range(graph: TFLiteGraph, tensor: int) -> Range | None:
    """The range of an int8 activation's possible values; None for any other tensor."""
    entry = graph.tensors[tensor] if tensor >= 0 else None
    scales = entry.quantization.scale if entry and entry.quantization else None
    if entry is None or entry.type != INT8 or scales is None or len(scales) != 1:
        return None
    scale = float(scales[0])
    low = (LOWEST - int(entry.quantization.zeroPoint[0])) * scale
    return low, low + LEVELS * scale


def _fixed(
    graph: TFLiteGraph, operator: schema.OperatorT, place: int, span: Range
) -> list[schema.OperatorT]:
    """Quantize a result to its own range and back, before anything reads it."""
    tensor = int(operator.outputs[place])
    scale = (span[1] - span[0]) / LEVELS
    raw, fixed = graph.add_like(tensor), graph.add_like(tensor)
    entry = graph.tensors[fixed]
    entry.type = INT8
    entry.quantization = schema.QuantizationParametersT()
    entry.quantization.scale = np.float32([scale])
    entry.quantization.zeroPoint = np.int64([round(LOWEST - span[0] / scale)])
    graph.tensors[tensor].quantization = None
    outputs = list(operator.outputs)
    outputs[place] = raw
    operator.outputs = np.asarray(outputs, dtype=np.int32)
    return [
        graph.make_operator(BUILTIN.QUANTIZE, [raw], [fixed]),
        graph.make_operator(BUILTIN.DEQUANTIZE, [fixed], [tensor]),
    ]
