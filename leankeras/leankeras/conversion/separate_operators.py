"""Split a .tflite so that every operator reads its own inputs and not the result of another.

One file and one interpreter serve all of them: building a file for each operator takes time
proportional to the square of their number, and an unrolled recurrent layer has thousands.
"""

import copy
from collections.abc import Collection

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.runtime import IDENTIFIER, TFLiteFile


def separate(file: TFLiteFile, positions: Collection[int]) -> tuple[bytes, dict[int, int]]:
    """Put operators side by side in one file, each with inputs of its own.

    Args:
        file: the file they are taken from.
        positions: places of the operators in ``file.operators``.

    Returns:
        The new file, whose outputs are the results of all of them, under the tensor indices they
        have in ``file``; and its inputs, tensor index to the index in ``file`` of the tensor it
        replaces.

    Example:
        >>> content, inputs = separate(TFLiteFile("model.tflite"), [3, 4])
    """
    model = schema.ModelT.InitFromPackedBuf(file.content, 0)
    graph = model.subgraphs[0]
    given = [not (tensor.constant or tensor.variable) for tensor in file.tensors]
    inputs: dict[int, int] = {}
    for position in positions:
        operator = graph.operators[position]
        own = list(operator.inputs)
        for place, index in enumerate(own):
            if index >= 0 and given[index]:
                own[place] = len(graph.tensors)
                inputs[own[place]] = int(index)
                graph.tensors.append(_unfilled(graph.tensors[index]))
        operator.inputs = np.asarray(own, dtype=np.int32)
    graph.operators = [graph.operators[position] for position in positions]
    results = [index for position in positions for index in file.operators[position].outputs]
    graph.inputs = np.asarray(list(inputs), dtype=np.int32)
    graph.outputs = np.asarray(results, dtype=np.int32)
    model.signatureDefs = None
    model.metadata = None
    builder = flatbuffers.Builder(len(file.content))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output()), inputs


def _unfilled(tensor: schema.TensorT) -> schema.TensorT:
    duplicate = copy.copy(tensor)
    duplicate.buffer = 0  # in this format the first buffer is always the empty one
    return duplicate
