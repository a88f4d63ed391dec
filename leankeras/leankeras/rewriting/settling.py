"""How a layer is called, and on what: its input shape, and a batch that it takes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from leankeras.equivalence import Callee, Pair, check_shape, flat_shapes, kept
from leankeras.errors import EquivalenceError, RewriteError
from leankeras.graph import is_graph

BATCH = 3


def settled(
    layer: Any, input_shape: Any, dtypes: Sequence[str] | None = None
) -> tuple[Callee, list[np.ndarray]]:
    """How a layer is called, and a batch for it.

    Args:
        layer: the layer.
        input_shape: the shape of one sample, nested as the inputs are; None if the layer knows it.
        dtypes: the type of each input; None finds types that the layer takes.

    Raises:
        RewriteError: not a layer, no shape, or inputs that it rejects.
    """
    if not isinstance(layer, keras.Layer) or is_graph(layer):
        raise RewriteError(f"got {type(layer).__name__}; expected a Keras layer")
    if input_shape is None:
        input_shape = _known_shape(layer)
    try:
        shape = check_shape(input_shape)
        callee = Callee("layer", layer, shape)
        pair = Pair(callee, Callee("layer", layer, shape), None)
        with kept(layer):
            arrays, _, _ = pair.settle(flat_shapes(shape), _typed(flat_shapes(shape), dtypes))
    except EquivalenceError as error:
        raise RewriteError(str(error)) from error
    return callee, arrays


def _typed(shapes: Sequence[Any], dtypes: Sequence[str] | None) -> list[np.ndarray] | None:
    if dtypes is None or len(dtypes) != len(shapes):
        return None
    random = np.random.default_rng(0)
    return [
        random.normal(size=(BATCH, *shape)).astype(dtype)
        if "float" in dtype
        else np.zeros((BATCH, *shape), dtype)
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]


def _known_shape(layer: keras.Layer) -> Any:
    config = layer.get_build_config() or {}
    shape = config.get("input_shape", config.get("shapes_dict"))
    if not layer.built or not shape:
        raise RewriteError(
            f"{layer.name} has no known input shape; give input_shape, the shape of one sample "
            "without the batch, such as (64, 32)"
        )

    def sample(part: Any) -> Any:
        if isinstance(part, dict):
            return [sample(each) for each in part.values()]
        if all(size is None or isinstance(size, int) for size in part):
            return tuple(part[1:])
        return [sample(each) for each in part]

    found = sample(shape)
    if any(size is None for each in keras.tree.flatten([found]) for size in [each]):
        raise RewriteError(
            f"{layer.name} was built for inputs of shape {shape}; give input_shape with a number "
            "in place of each None after the batch"
        )
    return found
