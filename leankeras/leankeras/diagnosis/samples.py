"""The inputs of a trial: the user's samples, or random numbers of the given shapes."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.arrays import invent, named_or_listed
from leankeras.equivalence import Shape, check_shape, flat_shapes, pack
from leankeras.errors import DataError, ModelError
from leankeras.graph import input_name

SAMPLES = 16


@dataclass(frozen=True)
class Inputs:
    """Sixteen samples for each input.

    Args:
        structure: shape of one sample, or a list or dict of shapes, nested like the inputs.
        arrays: the samples, one array for each input, in the order in which Keras flattens them.
        keywords: names of the arguments of ``call`` if it takes several tensors separately.
    """

    structure: Any
    arrays: list[np.ndarray]
    keywords: tuple[str, ...] = ()

    @cached_property
    def shapes(self) -> list[Shape]:
        """Shape of one sample of each input."""
        return flat_shapes(self.structure)

    def batch(self, size: int = 1) -> Any:
        """The first samples, as tensors in the structure that the layer takes."""
        return pack(self.structure, [array[:size] for array in self.arrays])

    def specs(self, batch: int | None) -> Any:
        """Signatures of the inputs at a batch size, None for an unknown one."""
        return keras.tree.map_structure(
            lambda tensor: tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype), self.batch()
        )

    def everything(self) -> Any:
        """All samples as arrays, in the structure that the layer takes."""
        return keras.tree.map_structure(np.asarray, pack(self.structure, self.arrays))

    def call(self, layer: keras.Layer, inputs: Any, **options: Any) -> Any:
        """Call a layer on such inputs."""
        if not self.keywords:
            return layer(inputs, **options)
        tensors = inputs.values() if isinstance(inputs, dict) else inputs
        return layer(**dict(zip(self.keywords, tensors, strict=True)), **options)


def find_inputs(layer: keras.Layer, input_shape: Any, samples: Any) -> Inputs | None:
    """The inputs to run a layer on, None if neither shape nor samples are known.

    Raises:
        ModelError: a model has inputs of open shape and no shape to use is given.
        EquivalenceError: ``input_shape`` is not a shape of one sample.
        DataError: the samples do not fit the layer's inputs or the shape.
    """
    if samples is not None:
        arrays = _in_order(layer, samples)
        structure = keras.tree.map_structure(lambda array: tuple(array.shape[1:]), arrays)
        structure = check_shape(keras.tree.map_shape_structure(tuple, structure))
        if input_shape is not None and flat_shapes(check_shape(input_shape)) != flat_shapes(
            structure
        ):
            raise DataError(
                f"the samples have shape {structure} and input_shape is {input_shape}; leave "
                "input_shape out, it follows from the samples"
            )
        chosen = [_sixteen(array) for array in keras.tree.flatten(arrays)]
        return Inputs(structure, chosen, _keywords(layer, structure))
    structure = check_shape(input_shape) if input_shape is not None else _known_shape(layer)
    if structure is None:
        return None
    rng = np.random.default_rng(0)
    shapes = flat_shapes(structure)
    dtypes = _dtypes(layer, len(shapes))
    arrays = [
        invent((SAMPLES, *shape), dtype, rng) for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    return Inputs(structure, arrays, _keywords(layer, structure))


def _in_order(layer: keras.Layer, samples: Any) -> Any:
    """Samples as arrays, in the structure that the layer takes."""
    if isinstance(samples, (list, tuple)) and not _is_several(samples):
        samples = np.asarray(samples)
    samples = keras.tree.map_structure(np.asarray, samples)
    flat = keras.tree.flatten(samples)
    for array in flat:
        if array.ndim < 1 or not len(array) or len(array) != len(flat[0]):
            raise DataError(
                f"the samples have shapes {[a.shape for a in flat]}; expected the same number of "
                "samples, at least one, of each input"
            )
        if array.dtype.kind not in "fiub":
            raise DataError(f"the samples have dtype {array.dtype}; expected numbers")
        if not np.isfinite(array).all():
            raise DataError("the samples hold NaN or Inf; nothing can be compared on them")
    inputs = keras.tree.flatten(getattr(layer, "inputs", None) or [])
    if not inputs:
        return samples
    listed = named_or_listed(samples, [input_name(tensor) for tensor in inputs])
    flat = [array.astype(tensor.dtype) for array, tensor in zip(listed, inputs, strict=True)]
    return keras.tree.pack_sequence_as(_input_structure(layer), flat)


def _is_several(samples: Any) -> bool:
    """Whether a list holds an array for each input, rather than samples."""
    return all(isinstance(part, np.ndarray) or hasattr(part, "shape") for part in samples)


def _sixteen(array: np.ndarray) -> np.ndarray:
    """Sixteen samples, evenly spaced, or repeated if there are fewer."""
    many = len(array) >= SAMPLES
    chosen = np.linspace(0, len(array) - 1, SAMPLES).astype(int) if many else np.arange(SAMPLES)
    array = array[chosen % len(array)]
    dtypes = {"f": "float32", "i": "int32", "u": "int32", "b": "bool"}
    return array.astype(dtypes[array.dtype.kind])


def _keywords(layer: keras.Layer, structure: Any) -> tuple[str, ...]:
    """The arguments that take the inputs, if ``call`` takes each as a separate one."""
    if isinstance(layer, keras.Model) or not isinstance(structure, (list, dict)):
        return ()
    needed = [
        parameter.name
        for parameter in inspect.signature(layer.call).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(needed) < 2:
        return ()
    return (
        tuple(sorted(structure)) if isinstance(structure, dict) else tuple(needed[: len(structure)])
    )


def _known_shape(layer: keras.Layer) -> Any:
    """The shape of one sample according to a model's inputs, None if it has none."""
    inputs = getattr(layer, "inputs", None)
    if not inputs:
        return None
    shapes = keras.tree.map_structure(lambda t: list(t.shape[1:]), _input_structure(layer))
    if any(None in tensor.shape[1:] for tensor in keras.tree.flatten(inputs)):
        raise ModelError(
            f"{layer.name} has inputs of open shape {shapes}; give input_shape, of one sample"
        )
    return check_shape(keras.tree.map_shape_structure(tuple, shapes))


def _input_structure(layer: keras.Layer) -> Any:
    return layer.inputs[0] if isinstance(layer, keras.Sequential) else layer.input


def _dtypes(layer: keras.Layer, count: int) -> list[str]:
    tensors = keras.tree.flatten(getattr(layer, "inputs", None) or [])
    if isinstance(layer, keras.layers.Embedding):
        return ["int32"] * count
    return [tensor.dtype for tensor in tensors] or ["float32"] * count
