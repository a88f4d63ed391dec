"""The inputs of a model: their names, shapes and dtypes, and matching samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from leankeras.arrays import Arrays, identifier, invent
from leankeras.errors import ConversionError, DataError, one_line
from leankeras.graph import input_name


@dataclass(frozen=True)
class InputSpec:
    """One input of a model: its shape without the batch axis, and its dtype by name.

    ``None`` in the shape is a dimension that the model leaves open.
    """

    shape: tuple[int | None, ...]
    dtype: str


def named_arrays(arrays: Arrays, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Samples by input name.

    Args:
        arrays: an array for one input; for several, a mapping by name or a sequence in order.
        names: the model's inputs.

    Raises:
        DataError: the names or the number of arrays differ.
    """
    if isinstance(arrays, Mapping):
        given = {identifier(name): _array(array, name) for name, array in arrays.items()}
        if set(given) != set(names):
            raise DataError(
                f"samples for inputs {', '.join(given) or '(none)'}; this model has "
                f"{', '.join(names)}"
            )
        return {name: given[name] for name in names}
    several = isinstance(arrays, list | tuple) and (
        len(names) > 1 or (len(arrays) == 1 and getattr(arrays[0], "ndim", 0) > 1)
    )
    listed = list(arrays) if several else [arrays]
    if len(listed) != len(names):
        raise DataError(
            f"{len(listed)} array(s) of samples; this model has {len(names)} inputs: "
            f"{', '.join(names)}"
        )
    return {name: _array(array, name) for name, array in zip(names, listed, strict=True)}


def model_inputs(model: keras.Model, samples: Arrays | None = None) -> tuple[dict, Any]:
    """The inputs of a built model.

    Args:
        model: functional, sequential or subclassed.
        samples: the user's samples; their shapes make open dimensions concrete, and they are the
            only source for the inputs of a subclassed model that was built by a call.

    Returns:
        Input name to :class:`InputSpec`, and the structure of the model's inputs, with the names
        as leaves.

    Raises:
        ConversionError: the model is not built, or has open dimensions and there are no samples.
    """
    if not model.built:
        raise ConversionError(
            f"{model.name} is not built; call it on a sample, or give it an Input, first"
        )
    structure = _structure(model, samples)
    tensors = keras.tree.flatten(structure)
    names = _names(structure, tensors)
    specs = {
        name: InputSpec(tuple(tensor.shape[1:]), _exported_dtype(model, name, tensor.dtype))
        for name, tensor in zip(names, tensors, strict=True)
    }
    if samples is not None:
        arrays = named_arrays(samples, names)
        specs = {
            name: InputSpec(concrete_shape(spec.shape, arrays[name].shape[1:]), spec.dtype)
            for name, spec in specs.items()
        }
    for name, spec in specs.items():
        if None in spec.shape:
            raise ConversionError(
                f"input {name} of {model.name} has the open shape {spec.shape}; give samples of "
                "the shape to deploy, as calibration or --data"
            )
    return specs, keras.tree.pack_sequence_as(structure, names)


def concrete_shape(shape: tuple, seen: tuple[int, ...]) -> tuple:
    """A shape with its open dimensions taken from a sample's."""
    # If the two do not fit, check_samples reports both shapes.
    if len(shape) != len(seen):
        return shape
    return tuple(size if known is None else known for known, size in zip(shape, seen, strict=True))


def invented_samples(inputs: Mapping[str, InputSpec], count: int) -> dict[str, np.ndarray]:
    """Samples for when the user gives none: standard normal, always the same."""
    generator = np.random.default_rng(0)
    return {
        name: invent((count, *spec.shape), spec.dtype, generator) for name, spec in inputs.items()
    }


def _structure(model: keras.Model, samples: Arrays | None) -> Any:
    if getattr(model, "inputs", None):
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    if samples is not None:
        if isinstance(samples, Mapping):
            return {name: _like(array, name) for name, array in samples.items()}
        if isinstance(samples, list | tuple) and all(hasattr(s, "shape") for s in samples):
            return [_like(array, index) for index, array in enumerate(samples)]
        return _like(samples, "x")
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        raise ConversionError(
            f"the input shape of {model.name} is not known; give calibration samples to show it"
        )
    return keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor((None, *shape[1:]), "float32"), shapes
    )


def _names(structure: Any, tensors: Sequence[Any]) -> list[str]:
    if isinstance(structure, dict):
        names = [identifier(name) for name in sorted(structure)]
    elif len(tensors) == 1:
        names = ["x"]
    else:
        known = [tensor for tensor in tensors if hasattr(tensor, "_keras_history")]
        names = [identifier(input_name(tensor)) for tensor in known]
    if len(set(names)) != len(tensors):
        names = [f"x_{index}" for index in range(len(tensors))]
    return names


def _exported_dtype(model: keras.Model, name: str, dtype: Any) -> str:
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype == "string":
        raise ConversionError(
            f"input {name} of {model.name} takes strings, which only TensorFlow supports; "
            "convert the part after the text preprocessing"
        )
    return "float32" if dtype in ("float16", "bfloat16", "float64") else dtype


def _like(values: object, name: object) -> keras.KerasTensor:
    """The symbolic input of a model that is called with such samples."""
    array = _array(values, name)
    dtype = "float32" if array.dtype.kind == "f" else str(array.dtype)
    return keras.KerasTensor((None, *array.shape[1:]), dtype)


def _array(values: object, name: object) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"samples of {name} are not one array of equal shapes ({one_line(error)}); stack "
            "samples of one shape with numpy.stack"
        ) from error
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"samples of {name} are {type(values).__name__} of dtype {array.dtype}; expected an "
            "array of numbers, (n, ...)"
        )
    return array
