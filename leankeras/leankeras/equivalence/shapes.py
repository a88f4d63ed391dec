"""The shape of one sample for each input, nested like the inputs, and arrays nested alike."""

from typing import Any

import keras
import numpy as np

from leankeras.errors import EquivalenceError

MOST_SAMPLES = 256

Shape = tuple[int, ...]


def check_shape(input_shape: Any) -> Any:
    """The shape of one sample, or a list or dict of shapes for several inputs, as plain tuples.

    Raises:
        EquivalenceError: it holds something other than positive whole numbers.
    """
    if isinstance(input_shape, dict):
        return {name: check_shape(shape) for name, shape in input_shape.items()}
    nested = isinstance(input_shape, (list, tuple)) and any(
        isinstance(size, (list, tuple, dict)) for size in input_shape
    )
    if nested:
        return [check_shape(shape) for shape in input_shape]
    sizes = tuple(input_shape) if isinstance(input_shape, (list, tuple)) else (input_shape,)
    if not all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes):
        raise EquivalenceError(
            f"input_shape is {input_shape}; expected the shape of one sample without the batch, "
            "of whole numbers above 0, such as (128, 6)"
        )
    return tuple(int(size) for size in sizes)


def flat_shapes(input_shape: Any) -> list[Shape]:
    """The shapes in a checked ``input_shape``, in the order in which Keras flattens inputs."""
    if isinstance(input_shape, dict):
        return [shape for name in sorted(input_shape) for shape in flat_shapes(input_shape[name])]
    if isinstance(input_shape, list):
        return [shape for part in input_shape for shape in flat_shapes(part)]
    return [input_shape]


def pack(input_shape: Any, arrays: list[np.ndarray]) -> Any:
    """Pack arrays in flat order into the structure of ``input_shape``, as backend tensors."""
    remaining = iter(arrays)

    def fill(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: fill(part[name]) for name in sorted(part)}
        if isinstance(part, list):
            return [fill(shape) for shape in part]
        return keras.ops.convert_to_tensor(next(remaining))

    return fill(input_shape)


def check_samples(samples: Any, shapes: list[Shape]) -> list[np.ndarray]:
    """A user's samples as one array for each input, at most 256 of them, evenly spaced.

    Raises:
        EquivalenceError: they do not fit the shapes, are empty, or hold NaN or Inf.
    """
    arrays = [np.asarray(array) for array in keras.tree.flatten(samples)]
    if isinstance(samples, (list, tuple)) and len(shapes) == 1:
        arrays = [np.asarray(samples)]
    seen = [array.shape for array in arrays]
    fits = len(arrays) == len(shapes) and all(
        array.shape[1:] == shape and len(array) == len(arrays[0]) > 0
        for array, shape in zip(arrays, shapes, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(("n", *shape)).replace("'", "") for shape in shapes)
        raise EquivalenceError(f"samples have shape {seen}; expected {wanted} with n > 0")
    for array in arrays:
        if not np.isfinite(array).all():
            raise EquivalenceError("samples hold NaN or Inf; nothing can be compared on them")
    chosen = np.unique(np.linspace(0, len(arrays[0]) - 1, MOST_SAMPLES).astype(int))
    floats = [array.dtype.kind == "f" for array in arrays]
    return [
        array[chosen].astype("float32") if is_float else array[chosen]
        for array, is_float in zip(arrays, floats, strict=True)
    ]
