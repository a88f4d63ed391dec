"""Checks of a model's weights before it is written to any file."""

import math

import keras

from leankeras.errors import ConversionError
from leankeras.objective import first_not_finite

MAX_BYTES = 2**31 - 1  # the most that a flatbuffer and a protobuf can address


def check_size(model: keras.Model, format_name: str) -> None:
    """Refuse a model too large for a format limited to 2 GB, judging by its weights' shapes alone.

    Args:
        model: a built Keras 3 model.
        format_name: the format of the file to write, such as ``".tflite"``.

    Raises:
        ConversionError: its weights take over 2 GB as float32.
    """
    check_bytes(model.name, sum(4 * math.prod(v.shape) for v in model.weights), format_name)


def check_bytes(name: str, size: int, format_name: str) -> None:
    """Like :func:`check_size`, for a known size in bytes."""
    if size > MAX_BYTES:
        raise ConversionError(
            f"{name} has {size / 2**30:.1f} GB of float32 weights and a {format_name} holds under "
            "2 GB; remove channels first, or save it as a SavedModel"
        )


def check_finite(model: keras.Model) -> None:
    """Refuse a model with NaN or Inf in its weights.

    Raises:
        ConversionError: there are such weights; the message names the first.
    """
    damaged = first_not_finite(model.weights)
    if damaged:
        raise ConversionError(f"weight {damaged} holds NaN or Inf; retrain {model.name}")
