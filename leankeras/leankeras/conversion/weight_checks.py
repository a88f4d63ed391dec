"""What the weights of a model must be before it is written to any file."""

import math

import keras

from leankeras.errors import ConversionError
from leankeras.objective import first_not_finite

MAX_BYTES = 2**31 - 1  # what a flatbuffer and a protobuf can address


def check_size(model: keras.Model, format_name: str) -> None:
    """Refuse a model too large for a format of under 2 GB, from the shapes of its weights alone.

    Args:
        model: a built Keras 3 model.
        format_name: of the file to write, such as ``".tflite"``.

    Raises:
        ConversionError: its weights take over 2 GB as float32.
    """
    check_bytes(model.name, sum(4 * math.prod(v.shape) for v in model.weights), format_name)


def check_bytes(name: str, size: int, format_name: str) -> None:
    """The same for a size in bytes that is known already."""
    if size > MAX_BYTES:
        raise ConversionError(
            f"{name} has {size / 2**30:.1f} GB of float32 weights and a {format_name} holds under "
            "2 GB; remove channels first, or save it as a SavedModel"
        )


def check_finite(model: keras.Model) -> None:
    """Refuse a model with NaN or Inf in its weights.

    Raises:
        ConversionError: naming the first such weight.
    """
    damaged = first_not_finite(model.weights)
    if damaged:
        raise ConversionError(f"weight {damaged} holds NaN or Inf; train {model.name} anew")
