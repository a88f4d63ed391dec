"""Replace layers of a model with another implementation, keeping their weights."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from leankeras.errors import ModelError


@dataclass(frozen=True)
class Rewrite:
    """Another implementation of a custom layer.

    Args:
        name: its name in tables.
        make: returns a new, unbuilt layer that computes the same as the old one.
        port: copies the old layer's weights into the built new one, ``port(old, new)``.
    """

    name: str
    make: Callable[[keras.Layer], keras.Layer]
    port: Callable[[keras.Layer, keras.Layer], None]


def replace_layers(
    model: keras.Model, layer_type: type[keras.Layer], rewrite: Rewrite
) -> keras.Model:
    """A copy of a model with every layer of a type rewritten and all weights carried over.

    Args:
        model: a built Functional or Sequential model; it is not changed.
        layer_type: the class of the layers to replace.
        rewrite: the implementation to put in their place, under the same layer names.

    Raises:
        ModelError: the model has no layer of that type.
    """
    replaced = [layer.name for layer in model.layers if isinstance(layer, layer_type)]
    if not replaced:
        raise ModelError(
            f"{model.name} has no {layer_type.__name__}; its layers are "
            f"{', '.join(sorted({type(layer).__name__ for layer in model.layers}))}"
        )

    def clone(layer: keras.Layer) -> keras.Layer:
        if layer.name not in replaced:
            return type(layer).from_config(layer.get_config())
        new = rewrite.make(layer)
        new.name = layer.name
        return new

    copy = keras.models.clone_model(model, clone_function=clone)
    for old, new in zip(model.layers, copy.layers, strict=True):
        if old.name in replaced:
            rewrite.port(old, new)
        else:
            new.set_weights(old.get_weights())
    return copy
