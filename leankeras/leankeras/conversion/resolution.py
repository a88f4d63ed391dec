"""Widen ranges that calibration leaves too narrow to compute with.

A layer whose outputs are tiny on the calibration samples gets a tiny scale, such as 8e-9. LiteRT's
fast kernels (XNNPACK) refuse a result that is over 256 times finer than the numbers it is computed
from. Nothing is lost without such a scale: it rounds sums of whole steps that are far larger. So
the range is widened to the smallest that makes sense.
"""

import math

from ai_edge_litert import schema_py_generated as schema

from leankeras.conversion.tflite_graph import BUILTIN, FLOAT32, TFLiteGraph

STEPS = 255
FINEST = 128  # less than XNNPACK's 256, since the quantizer rounds ranges
SILENT = 1e-30
PRODUCTS = {
    BUILTIN.FULLY_CONNECTED, BUILTIN.CONV_2D, BUILTIN.DEPTHWISE_CONV_2D, BUILTIN.TRANSPOSE_CONV,
    BUILTIN.BATCH_MATMUL, BUILTIN.MUL,
}  # fmt: skip
SUMS = {BUILTIN.ADD, BUILTIN.SUB, BUILTIN.RELU, BUILTIN.RELU6}


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
        if kind not in PRODUCTS | SUMS:
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
        low, high = min(span[0], 0.0), max(span[1], 0.0)
        least = STEPS / FINEST * (math.prod(steps) if kind in PRODUCTS else max(steps))
        if high - low < least:
            graph.set_range(output, low, low + least)
    return silent


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
