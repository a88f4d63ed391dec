"""The first operators of a .tflite as a separate file, made by changing a few of its bytes.

Rewriting the file for each of n operators takes time proportional to n², and an unrolled recurrent
layer has hundreds. In a flatbuffer (https://flatbuffers.dev/internals) a vector is its length
followed by its elements, so a smaller length cuts the operators off; and a field holds the
distance to its vector, so a new list of outputs can be appended at the end.
"""

import struct

from ai_edge_litert import schema_py_generated as schema

from leankeras.errors import ModelError
from leankeras.runtime.flatbuffer import TFLiteFile

# where the schema keeps a field's distance in its table
OUTPUTS, OPERATORS = 8, 10
SIGNATURES = 18


def prefix(file: TFLiteFile, size: int) -> bytes:
    """The first ``size`` operators as a .tflite with the inputs of the whole file.

    Its outputs are all results that the rest of the model still needs, in the order of the
    tensors' indices, so that none of its operators is dead and skipped. It has no signature.

    Args:
        file: the whole file.
        size: how many operators to keep, at least 1.

    Raises:
        ModelError: ``size`` is 0, or more than the file has.

    Example:
        >>> prefix(TFLiteFile("model.tflite"), 3)
    """
    if not 1 <= size <= len(file.operators):
        raise ModelError(f"cannot keep {size} operators; {file.path} has {len(file.operators)}")
    kept, rest = file.operators[:size], file.operators[size:]
    made = {index for operator in kept for index in operator.outputs}
    read = {index for operator in kept for index in operator.inputs}
    needed = {index for operator in rest for index in operator.inputs}
    needed |= set(file.outputs.values())
    outputs = sorted((made & needed) | (made - read))

    content = bytearray(file.content)
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    _set_length(content, graph, OPERATORS, size)
    if model.SignatureDefsLength():
        _set_length(content, model, SIGNATURES, 0)
    content += bytes(-len(content) % 4)
    field = graph._tab.Pos + graph._tab.Offset(OUTPUTS)
    struct.pack_into("<I", content, field, len(content) - field)
    content += struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)
    return bytes(content)


def _set_length(content: bytearray, table: schema.Model | schema.SubGraph, field: int, length: int):
    first = table._tab.Vector(table._tab.Offset(field))
    struct.pack_into("<I", content, first - 4, length)
