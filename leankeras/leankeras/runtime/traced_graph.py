"""The graph of operations that TensorFlow records of a model."""

import keras
import pandas as pd
import tensorflow as tf

from leankeras.arrays import Arrays
from leankeras.graph import without_dropout
from leankeras.keras_faults import without_faults

NO_WORK = {"Identity", "NoOp", "Placeholder"}


def graph_size(model: keras.Model, sample: Arrays) -> int:
    """The number of operations in the graph of a ``tf.function``; a Python loop multiplies it."""
    return len(_traced(model, sample).get_operations())


def operation_graph(model: keras.Model, sample: Arrays) -> pd.DataFrame:
    """The operations of a model that depend on its input, as a ``tf.function`` records them.

    Args:
        model: a built Keras model.
        sample: one input with its batch axis, shape ``(1, ...)``; of several inputs arrays by
            name.

    Returns:
        A row for each operation, inputs before those that take them: ``operation``, what
        TensorFlow calls it, such as "Conv2D"; ``depth``, the number of operations on the longest
        way to it from an input, itself included; ``inputs``, the rows that it takes.

    Example:
        >>> operation_graph(model, data.x_test[:1]).operation.value_counts()
    """
    graph = _traced(model, sample)
    inputs = graph.inputs[: len(tf.nest.flatten(sample))]  # what follows are weights
    rows: list[tuple[str, int, list[int]]] = []
    sources: dict[str, list[int]] = {tensor.name: [] for tensor in inputs}
    for operation in graph.get_operations():
        taken = [sources[each.name] for each in operation.inputs if each.name in sources]
        if not taken:
            continue
        places = sorted({place for each in taken for place in each})
        if operation.type not in NO_WORK:
            depth = 1 + max((rows[place][1] for place in places), default=0)
            rows.append((operation.type, depth, places))
            places = [len(rows) - 1]
        sources.update((each.name, places) for each in operation.outputs)
    return pd.DataFrame(rows, columns=["operation", "depth", "inputs"])


def _traced(model: keras.Model, sample: Arrays) -> tf.Graph:
    tensor = tf.nest.map_structure(tf.constant, sample)
    function = tf.function(lambda x: model(x, training=False))
    with without_dropout(model), without_faults():
        return function.get_concrete_function(tensor).graph
