"""Biases of an int8 file, in the scale that the kernels assume.

A kernel adds the integers of a bias to its sums of products, whose scale is that of the input times
that of the weights; the bias's own scale is ignored. The quantizer chooses the scale of a bias and
may change that of the input afterwards: to one scale for all steps of a recurrent layer, or for all
inputs of a concatenation. The bias then counts for, say, half or twice its value, without an error.
Only the child process imports this module.
"""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.conversion.tflite_graph import BUILTIN, TFLiteGraph

# The places of input, weights and bias in operators with a bias.
PLACES = {
    BUILTIN.CONV_2D: (0, 1, 2),
    BUILTIN.DEPTHWISE_CONV_2D: (0, 1, 2),
    BUILTIN.FULLY_CONNECTED: (0, 1, 2),
    BUILTIN.TRANSPOSE_CONV: (2, 1, 3),
}
ROUNDING = 1e-5  # of scales, which are float32


def rescale_biases(content: bytes) -> bytes:
    """Give every bias the scale of its kernel's sums of products.

    Args:
        content: an int8 .tflite.

    Returns:
        The file with corrected biases; the same bytes if they are already right.
    """
    graph = TFLiteGraph(content)
    for operator in graph.operators:
        places = PLACES.get(graph.kind(operator))
        if places is not None and len(operator.inputs) > places[-1]:
            _rescale(graph, operator, *(int(operator.inputs[place]) for place in places))
    return graph.pack()


def _rescale(
    graph: TFLiteGraph, operator: schema.OperatorT, given: int, weights: int, bias: int
) -> None:
    scales = [_scales(graph, tensor) for tensor in (given, weights, bias)]
    if any(len(scale) == 0 for scale in scales):  # in float, or absent
        return
    wanted = scales[0] * scales[1]
    if np.allclose(scales[2], wanted, rtol=ROUNDING, atol=0):
        return
    values = np.rint(graph.values(bias) * (scales[2] / wanted)).astype(np.int32)
    # A new tensor: another operator may use the same bias with another input.
    made = graph.add_constant(values)
    quantization = copy.copy(graph.tensors[bias].quantization)
    quantization.scale = np.float32(wanted)
    quantization.zeroPoint = np.zeros(len(wanted), np.int64)
    graph.tensors[made].quantization = quantization
    graph.set_input(operator, list(operator.inputs).index(bias), made)


def _scales(graph: TFLiteGraph, tensor: int) -> np.ndarray:
    quantization = graph.tensors[tensor].quantization if tensor >= 0 else None
    if quantization is None or quantization.scale is None:
        return np.zeros(0)
    return np.asarray(quantization.scale, dtype=np.float64)
