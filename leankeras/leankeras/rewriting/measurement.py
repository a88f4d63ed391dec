"""The old layer and its drafts timed side by side in LiteRT."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from leankeras.conversion import convert
from leankeras.errors import ConversionError
from leankeras.files import scratch_directory
from leankeras.runtime import compare_latency

SLOW = "as it is"


def measure(models: Mapping[str, keras.Model], sample: Any) -> Any:
    """Latencies of float32 files at batch 1, against the model called "as it is".

    Args:
        models: by name; each a functional model with one layer.
        sample: one input with its batch axis, or a list of them.

    Returns:
        A :class:`~leankeras.runtime.latency.Comparison`. Where the slow layer has no file, since it
        uses something that LiteRT does not have, all are timed as a ``tf.function``. A draft
        without a file is left out.
    """
    with scratch_directory() as scratch:
        files: dict[str, Any] = {}
        for number, (name, model) in enumerate(models.items()):
            try:
                files[name] = convert(model, scratch / f"{number}.tflite", "float32").path
            except ConversionError:
                if name == SLOW:
                    return compare_latency(models, sample, reference=SLOW)
        return compare_latency(files, sample, reference=SLOW)


def as_model(layer: keras.Layer, arrays: list[np.ndarray], nested: Any) -> keras.Model:
    """A model of one layer at batch 1.

    Args:
        layer: built or not.
        arrays: a batch of each input, flat, for shapes and types.
        nested: calls the layer with flat inputs.
    """
    inputs = [keras.Input(batch_shape=(1, *a.shape[1:]), dtype=str(a.dtype)) for a in arrays]
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, nested(layer, inputs))
