"""Copies of Keras 3 models and layers, which can be trained while the originals stay as they are.

A copy is in float32 whatever the model's precision: deployment computes in it, fake quantization
needs it, and two results can be compared in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import tree

from leankeras.errors import ModelError, TwinError, one_line
from leankeras.graph import (
    OTHER_PRECISIONS,
    as_graph,
    copy_lambda,
    copy_operation,
    flat_layers,
    is_graph,
    new_inputs,
    run_graph,
    single_precision,
    symbolic_inputs,
)

# Rounding allowed for half precision in a whole model: its outputs against those in float32.
HALF_PRECISION_TOLERANCE = 0.1


def copy_model(model: keras.Model, like: Any = None) -> keras.Model:
    """Copy a Keras 3 model with its weights, in float32; layers are rebuilt from their configs.

    Args:
        model: a built model, or a subclassed one with ``like``.
        like: the shape of one sample, without the batch, or some samples; needed for a subclassed
            model that has not been called. A list or dict of them for several inputs.

    Returns:
        An uncompiled model.

    Raises:
        ModelError: not a built Keras 3 model.
        TwinError: a layer cannot be rebuilt from its config.
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"got {type(model).__name__}; expected a Keras 3 model (keras.Model)")
    if isinstance(model, keras.Sequential) and not model.built:
        raise ModelError(
            f"{model.name} is not built; call it on a sample or give it an Input first"
        )
    with _float32_policy():
        if is_graph(model):
            copied = _Copies().model(model)
        else:
            inputs = symbolic_inputs(model, like)
            if not model.built:
                model(inputs)
            copied = copy_layer(model, in_float32=True)
            copied(inputs)
    expected, seen = ([tuple(w.shape) for w in m.weights] for m in (model, copied))
    if expected != seen:
        raise TwinError(
            f"{model.name} has weights of shapes {expected} and its copy {seen}; create every "
            "weight in __init__ or build, from what get_config returns"
        )
    copied.set_weights(model.get_weights())
    for layer in flat_layers(copied):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return copied


def is_float32(model: keras.Model) -> bool:
    """Whether a model computes in and stores no float precision other than float32."""
    return not any(
        {layer.compute_dtype, layer.variable_dtype} & set(OTHER_PRECISIONS)
        for layer in flat_layers(model)
    )


def copy_layer(layer: keras.Operation, in_float32: bool = False) -> keras.Operation:
    """Rebuild a layer or operation, without weights.

    Raises:
        TwinError: it cannot be rebuilt from its config.
    """
    if not isinstance(layer, keras.layers.Layer):
        copied = copy_operation(layer)
        if in_float32 and hasattr(layer, "dtype"):
            copied.dtype = single_precision(layer.dtype)  # for example, the target of a cast
        return copied
    if isinstance(layer, keras.layers.Lambda):
        policy = layer.dtype_policy.name
        return copy_lambda(layer, single_precision(policy) if in_float32 else policy)
    try:
        config = layer.get_config()
        copied = type(layer).from_config(_float32(config) if in_float32 else config)
    except Exception as error:
        raise TwinError(
            f"{layer.name} ({type(layer).__name__}) cannot be rebuilt from its config: "
            f"{one_line(error)}; check its get_config"
        ) from error
    # Layers without their own get_config lose their names.
    copied.name = layer.name
    copied.trainable = layer.trainable
    return copied


class _Copies:
    """Copies of models and their parts; parts shared in the original are shared in the copy."""

    def __init__(self) -> None:
        self._copies: dict[int, keras.Operation] = {}

    def model(self, model: keras.Model) -> keras.Model:
        graph = as_graph(model)
        inputs = new_inputs(graph)
        if isinstance(model, keras.Sequential):
            layers = [self._operation(layer) for layer in model.layers]
            return keras.Sequential([inputs, *layers], name=model.name)
        outputs = run_graph(graph, inputs, _call_in_float32, self._operation)
        return keras.Model(inputs, outputs, name=model.name)

    def _operation(self, operation: keras.Operation) -> keras.Operation:
        if id(operation) not in self._copies:
            self._copies[id(operation)] = (
                self.model(operation)
                if is_graph(operation)
                else copy_layer(operation, in_float32=True)
            )
        return self._copies[id(operation)]


def _call_in_float32(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    """Call an operation; NumPy's floats among its arguments would make the result float64."""

    def convert(argument: Any) -> Any:
        is_array = isinstance(argument, np.ndarray | np.generic)
        return argument.astype(single_precision(str(argument.dtype))) if is_array else argument

    args, kwargs = tree.map_structure(convert, (args, kwargs))
    return operation(*args, **kwargs)


def _float32(value: Any) -> Any:
    """A layer's config with float32 in place of every other float precision."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            name = single_precision(value["config"]["name"])
            return {**value, "config": {**value["config"], "name": name}}
        return {
            key: single_precision(item)
            if key == "dtype" and isinstance(item, str)
            else _float32(item)
            for key, item in value.items()
        }
    return [_float32(item) for item in value] if isinstance(value, list) else value


@contextmanager
def _float32_policy() -> Iterator[None]:
    """Set the process's policy, which layers take that another layer creates without a config."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
