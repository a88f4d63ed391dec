"""The memory that a file's operators read and write, counted in the file itself."""

from math import prod
from pathlib import Path

import pandas as pd

from leankeras.runtime import TFLiteFile

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bool": 1}
BYTES |= {f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)}


def activation_memory(file: str | Path) -> pd.DataFrame:
    """The bytes of each operator's inputs and outputs, without the constants in the file.

    The largest sum of both is a lower bound for the RAM of any runtime, and close to what a good
    one takes for its activations.

    Args:
        file: the ``.tflite``.

    Returns:
        By operator, in the order they run: ``layer``, ``inputs`` and ``outputs`` in bytes.

    Raises:
        ModelError: it is not a .tflite.

    Example:
        >>> memory = activation_memory("final.tflite")
        >>> (memory.inputs + memory.outputs).max()
    """
    opened = TFLiteFile(file)
    sizes = [
        0 if tensor.constant else prod(tensor.shape) * BYTES.get(tensor.type, 0)
        for tensor in opened.tensors
    ]
    rows = [
        {
            "operator": operator.kind,
            "layer": layer,
            "inputs": sum(sizes[index] for index in set(operator.inputs)),
            "outputs": sum(sizes[index] for index in set(operator.outputs)),
        }
        for operator, layer in zip(opened.operators, opened.operator_layers(), strict=True)
    ]
    return pd.DataFrame(rows).set_index("operator")
