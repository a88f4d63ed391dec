"""The gain from batching: time per sample when several are processed at once."""

from collections.abc import Sequence
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from leankeras.arrays import Arrays, repeated
from leankeras.runtime.latency import compare_latency


def batch_sizes(model: keras.Model, sample: Arrays, batches: Sequence[int]) -> pd.DataFrame:
    """Microseconds per sample when a ``tf.function`` and ``predict`` process several at once.

    Returns:
        Indexed by ``batch``: ``tf_function`` and ``predict``, medians in microseconds per sample.
    """
    function = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    targets: dict[str, Any] = {}
    for batch in batches:
        inputs = repeated(sample, batch)
        tensor = tf.nest.map_structure(tf.constant, inputs)
        targets[f"tf_function {batch}"] = lambda _, tensor=tensor: function(tensor)
        targets[f"predict {batch}"] = lambda _, inputs=inputs: model.predict(inputs, verbose=0)
    medians = compare_latency(targets, sample).table.us
    return pd.DataFrame(
        {
            way: [medians[f"{way} {batch}"] / batch for batch in batches]
            for way in ("tf_function", "predict")
        },
        index=pd.Index(batches, name="batch"),
    )
