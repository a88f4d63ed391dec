"""Widen ranges that calibration leaves too narrow to compute with.

A layer whose outputs are tiny on the calibration samples gets a tiny scale, such as 8e-9; so do the
first steps of a recurrence over sequences that begin with zeros. LiteRT's kernels refuse a result
that is over 256 times finer than the numbers it is computed from, and a term over 1024 times finer
than its sum; some end the process. Nothing is lost without such a scale: it rounds sums of whole
steps that are far larger. So the range is widened to the smallest that makes sense.
"""

import math

from ai_edge_litert import schema_py_generated as schema

from leankeras.conversion.tflite_graph import BUILTIN, FLOAT32, TFLiteGraph

STEPS = 255
# Less than XNNPACK's 256 and 1024, since the quantizer rounds ranges.
FINEST, FINEST_TERM = 128, 512
SILENT = 1e-30
PRODUCTS = {
    BUILTIN.FULLY_CONNECTED, BUILTIN.CONV_2D, BUILTIN.DEPTHWISE_CONV_2D, BUILTIN.TRANSPOSE_CONV,
    BUILTIN.BATCH_MATMUL, BUILTIN.MUL, BUILTIN.SQUARED_DIFFERENCE,
}  # fmt: skip
SUMS = {BUILTIN.ADD, BUILTIN.SUB, BUILTIN.RELU, BUILTIN.RELU6}
COMPUTING = PRODUCTS | SUMS
# The quantizer gives a part the scale of what it is cut from, and these functions their own range.
PARTS = {BUILTIN.UNPACK, BUILTIN.SPLIT, BUILTIN.SLICE, BUILTIN.STRIDED_SLICE, BUILTIN.RESHAPE}
BOUNDED = {BUILTIN.LOGISTIC: (0.0, 1.0), BUILTIN.SOFTMAX: (0.0, 1.0), BUILTIN.TANH: (-1.0, 1.0)}


def widen_ranges(graph: TFLiteGraph) -> list[schema.OperatorT]:
    """Widen the ranges of results that are finer than the values they are computed from.

    Args:
        graph: a calibrated .tflite, changed in place.

    Returns:
        The operators whose results are zero on every calibration sample.
    """
    silent = []
    for operator in graph.operators:
        kind = graph.kind(operator)
        if kind in PARTS:
            _widen_parts(graph, operator)
        if kind in BOUNDED and graph.range(int(operator.outputs[0])):
            graph.set_range(int(operator.outputs[0]), *BOUNDED[kind])
        if kind not in COMPUTING:
            continue
        output = int(operator.outputs[0])
        span = graph.range(output)
        if span is None:
            continue
        steps = [_step(graph, int(index)) for index in _factors(graph, operator)]
        if None in steps or not steps:
            continue
        if max(map(abs, span)) < SILENT:
            silent.append(operator)
        _widen(graph, output, (math.prod(steps) if kind in PRODUCTS else max(steps)) / FINEST)
        if kind in SUMS:
            for term in _factors(graph, operator):
                _widen(graph, term, _width(graph, output) / STEPS / FINEST_TERM)
    return silent


def _widen_parts(graph: TFLiteGraph, operator: schema.OperatorT) -> None:
    """Give parts that are zero on every sample the range of the whole."""
    whole = [graph.range(index) for index in _factors(graph, operator)]
    for part in map(int, operator.outputs):
        span = graph.range(part)
        if span and whole and whole[0] and max(map(abs, span)) < SILENT:
            graph.set_range(part, *whole[0])


def _widen(graph: TFLiteGraph, tensor: int, step: float) -> None:
    """Widen a range until one of its steps has at least some size."""
    low = min(graph.range(tensor)[0], 0.0)
    if graph.values(tensor) is None and _width(graph, tensor) < STEPS * step:
        graph.set_range(tensor, low, low + STEPS * step)


def _width(graph: TFLiteGraph, tensor: int) -> float:
    low, high = graph.range(tensor)
    return max(high, 0.0) - min(low, 0.0)


def _factors(graph: TFLiteGraph, operator: schema.OperatorT) -> list[int]:
    """The first two float inputs: values and weights, without the bias."""
    numbers = [
        index for index in operator.inputs if index >= 0 and graph.tensors[index].type == FLOAT32
    ]
    return numbers[:2]


def _step(graph: TFLiteGraph, tensor: int) -> float | None:
    """The largest possible size of one step of a tensor; None if it is unknown."""
    span = graph.range(tensor)
    return None if span is None else 2 * max(map(abs, span)) / STEPS
