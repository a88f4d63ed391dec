"""The inputs a layer or model is tried on: a batch of each kind that tells layers apart.

No single kind is enough: on zeros alone most wrong rewrites look right, and ones cannot see an
axis taken for another.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from leankeras.errors import EquivalenceError

BATCH = 3  # above 1, so that samples mixed with one another show
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
    """Arrays in flat order, put into the structure of ``input_shape`` as backend tensors."""
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
        EquivalenceError: they do not fit the shapes, or hold none, NaN or Inf.
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


def make_inputs(
    shapes: list[Shape], samples: list[np.ndarray] | None = None, seed: int = 0
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Batches of every kind, as ``(name, one array for each input)``.

    Where the samples of an input are whole numbers (token ids, bytes), its generated batches are
    drawn from the values seen in them.

    Args:
        shapes: shape of one sample, for each input.
        samples: checked samples of the user's own, which come last.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    longest = max(len(shape) for shape in shapes)
    kinds = ["random", "zeros", "ones", "large", "small", "sparse"]
    kinds += [f"constant along axis {axis}" for axis in range(1, longest + 1)]
    for kind in kinds:
        arrays = []
        for position, shape in enumerate(shapes):
            if samples is not None and samples[position].dtype.kind != "f":
                arrays.append(_whole_numbers(kind, (BATCH, *shape), samples[position], rng))
            else:
                arrays.append(_floats(kind, (BATCH, *shape), rng))
        yield kind, arrays
    if samples is not None:
        yield "samples", samples


def _floats(kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if kind == "zeros":
        return np.zeros(shape, "float32")
    if kind == "ones":
        return np.ones(shape, "float32")
    if kind.startswith("constant"):
        axis = int(kind.rsplit(" ", 1)[1])
        if axis < len(shape):
            one_wide = (*shape[:axis], 1, *shape[axis + 1 :])
            line = rng.normal(size=one_wide).astype("float32")
            return np.ascontiguousarray(np.broadcast_to(line, shape))
    values = rng.normal(size=shape)
    if kind == "large":
        values *= 30  # beyond it exp() in a plain softmax overflows
    elif kind == "small":
        values *= 1e-3
    elif kind == "sparse":
        values *= rng.random(shape) < 0.1
    return values.astype("float32")


def _whole_numbers(
    kind: str, shape: Shape, samples: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    if kind == "zeros":
        return np.full(shape, samples.min())
    if kind == "ones":
        return np.full(shape, samples.max())
    return rng.choice(samples.ravel(), shape)
