"""The cost of a first call: ``tf.function`` retraces for every shape it has not seen."""

import time
from collections.abc import Sequence

import keras
import pandas as pd
import tensorflow as tf

from leankeras.arrays import Arrays, each_array, repeated


def trace_times(model: keras.Model, sample: Arrays, batches: Sequence[int]) -> pd.DataFrame:
    """Call a fresh ``tf.function`` with batches of several sizes, with and without a signature.

    Args:
        model: a built Keras model.
        sample: one input with its batch axis; of several inputs arrays by name.
        batches: batch sizes, in the order of the calls.

    Returns:
        A row for each call: ``batch``, ``ms`` without a signature, ``traced`` (whether it traced),
        and the same with one, ``ms_signature`` and ``traced_signature``.
    """
    any_batch = each_array(
        sample, lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype)
    )
    plain = _traced(model, sample, batches, None)
    signature = _traced(model, sample, batches, [any_batch])
    return plain.join(signature.drop(columns="batch").add_suffix("_signature"))


def _traced(model, sample, batches, signature) -> pd.DataFrame:
    traces = 0

    def call(x):
        nonlocal traces
        traces += 1  # runs only while tracing
        return model(x, training=False)

    function = tf.function(call, input_signature=signature)
    rows = []
    for batch in batches:
        inputs, before = repeated(sample, batch), traces
        start = time.perf_counter()
        function(inputs)
        milliseconds = 1e3 * (time.perf_counter() - start)
        rows.append({"batch": batch, "ms": milliseconds, "traced": traces > before})
    return pd.DataFrame(rows)
