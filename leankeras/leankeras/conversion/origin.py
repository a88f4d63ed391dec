"""Find where a float32 file first differs from the TensorFlow graph it was converted from.

The converter names each tensor after the operations it was made from, so most results can be
compared with the graph's own. Only the child process imports this module.
"""

import math
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from leankeras.runtime import LiteRTModel, TFLiteFile

MAX_SAMPLES = 16
CALL = re.compile(r"^(?:\w*PartitionedCall(?:_\d+)?/)+")


def first_difference(
    function: tf.types.experimental.ConcreteFunction,
    path: str,
    samples: Mapping[str, np.ndarray],
    limit: float,
) -> int | None:
    """The first operator of a file whose result differs from the graph's.

    Args:
        function: the signature that was converted.
        path: the float32 file.
        samples: inputs by name; the first 16 are used.
        limit: the relative difference that counts.

    Returns:
        The operator's place in the file; None if every result that can be compared is equal.
    """
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    known = {
        CALL.sub("", operation.name): operation.outputs[0]
        for operation in frozen.graph.get_operations()
        if operation.outputs and operation.outputs[0].dtype == tf.float32
    }
    file, model = TFLiteFile(path), LiteRTModel(path, keep_tensors=True)
    named = {
        place: [known[name] for name in _names(file.result(operator).name) & set(known)]
        for place, operator in enumerate(file.operators)
    }
    graph = frozen.prune(frozen.inputs, named)
    first = None
    for sample in model.samples(samples, MAX_SAMPLES):
        exact = graph(*(tf.constant(sample[each.name.partition(":")[0]]) for each in frozen.inputs))
        model.set_inputs(sample)
        model.invoke()
        for place, tensors in exact.items():
            values = model.tensor(file.operators[place].outputs[0]).reshape(-1)
            apart = [_relative(values, tensor.numpy().reshape(-1)) for tensor in tensors]
            if min((each for each in apart if each is not None), default=0.0) > limit:
                first = place if first is None else min(first, place)
    return first


def _names(tensor: str) -> set[str]:
    """The operations that may have computed a tensor; duplicate names end in numbers."""
    parts = tensor.split(";")
    return {*parts, *(part.rstrip("0123456789") for part in parts)}


def _relative(values: np.ndarray, exact: np.ndarray) -> float | None:
    if values.shape != exact.shape:
        return None
    size = np.sqrt(np.mean(np.square(exact, dtype="float64")))
    apart = np.sqrt(np.mean(np.square(values - exact, dtype="float64")))
    return float(apart / (size or 1.0)) if np.isfinite(apart) else math.inf
