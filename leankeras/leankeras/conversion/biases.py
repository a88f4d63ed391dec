"""Biases of an int8 file, in the scale that the kernels take them to have.

A kernel adds the integers of a bias to its sums of products, whose scale is that of the input times
that of the weights; the bias's own is not looked at. The quantizer chooses the scale of a bias and
may change that of the input afterwards: to one scale for all the steps of a recurrent layer, or for
all that is concatenated. The bias then counts for half or twice what it should, without an error.
Only the child process imports this module.
"""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.conversion.tflite_graph import BUILTIN, TFLiteGraph

# Where operators with a bias have their input, weights and bias.
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
        The file with the biases put right; the same bytes where they are.
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
    if any(len(scale) == 0 for scale in scales):  # in float, or none
        return
    wanted = scales[0] * scales[1]
    if np.allclose(scales[2], wanted, rtol=ROUNDING, atol=0):
        return
    values = np.rint(graph.values(bias) * (scales[2] / wanted)).astype(np.int32)
    # A tensor of its own: another operator may read the same bias beside another input.
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
