"""The tf_keras layer that computes the same as a Keras 3 layer, if there is one.

Layers of the same name do not always compute the same function. Known differences are listed here;
unknown ones are caught when the twin is compared with its original.
"""

import inspect
from typing import Any

import keras
import numpy as np
import tf_keras

# Functions with the same name that compute the same in both. ``hard_sigmoid`` and ``leaky_relu``
# are missing on purpose: Keras 2 has different slopes.
SAME_ACTIVATIONS = {
    "elu", "exponential", "gelu", "linear", "mish", "relu", "selu", "sigmoid", "silu", "softmax",
    "softplus", "softsign", "tanh",
}  # fmt: skip

# They depend on a Python object or a cell that a config cannot hold.
WITHOUT_COUNTERPART = {
    "Lambda", "TFSMLayer", "RNN", "StackedRNNCells", "SpectralNormalization", "Wrapper", "Layer",
    "Masking",
}  # fmt: skip
# Masks are tensors in a twin, passed to the layers that read them; no layer attaches one.
WITHOUT_MEANING = {"mask_zero", "seed"}

RENAMED_ARGUMENTS = {"LeakyReLU": {"negative_slope": "alpha"}}
ACTIVATION_ARGUMENTS = ("activation", "recurrent_activation")


def native_layer(layer: keras.layers.Layer) -> tf_keras.layers.Layer | None:
    """Make the unbuilt tf_keras counterpart of a Keras 3 layer.

    Args:
        layer: a built-in Keras 3 layer or a user's layer.

    Returns:
        The tf_keras layer of the same name and configuration, or None if tf_keras has none that
        computes the same.
    """
    name = type(layer).__name__
    counterpart = getattr(tf_keras.layers, name, None)
    if (
        counterpart is None
        or name in WITHOUT_COUNTERPART
        or getattr(keras.layers, name, None) is not type(layer)
        or layer.dtype_policy.name != layer.dtype_policy.variable_dtype
    ):
        return None
    if isinstance(layer, keras.layers.Bidirectional):
        return _native_bidirectional(layer)
    if isinstance(layer, keras.layers.Wrapper):
        inner = native_layer(layer.layer)
        return None if inner is None else counterpart(inner, name=layer.name)
    if isinstance(layer, keras.layers.Normalization):
        return _native_normalization(layer)
    config = _translated_config(layer, counterpart)
    if config is None:
        return None
    try:
        # from_config of MultiHeadAttention requires shapes that Keras 3 does not store.
        return counterpart(**config)
    except (ValueError, TypeError):
        return None


def _native_bidirectional(layer: keras.layers.Bidirectional) -> tf_keras.layers.Layer | None:
    forward, backward = native_layer(layer.forward_layer), native_layer(layer.backward_layer)
    if forward is None or backward is None:
        return None
    return tf_keras.layers.Bidirectional(
        forward, backward_layer=backward, merge_mode=layer.merge_mode, name=layer.name
    )


def _native_normalization(layer: keras.layers.Normalization) -> tf_keras.layers.Layer | None:
    if layer.invert:
        return None
    return tf_keras.layers.Normalization(
        axis=layer.axis,
        mean=np.asarray(layer.mean).ravel(),
        variance=np.asarray(layer.variance).ravel(),
        name=layer.name,
    )


def _translated_config(layer: keras.layers.Layer, counterpart: type) -> dict[str, Any] | None:
    """Translate a config, or return None if an argument has no equivalent in tf_keras."""
    accepted, defaults = _arguments(counterpart), _defaults(type(layer))
    renamed = RENAMED_ARGUMENTS.get(type(layer).__name__, {})
    config = {}
    for argument, value in layer.get_config().items():
        argument = renamed.get(argument, argument)
        if argument.endswith("_initializer") or argument in WITHOUT_MEANING:
            continue
        if argument in ACTIVATION_ARGUMENTS and not _same_activation(value):
            return None
        if argument in accepted:
            config[argument] = _translated(value)
        elif argument in defaults and value != defaults[argument]:
            return None
    if config.get("activation") == "silu":
        config["activation"] = "swish"
    return config


def _same_activation(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in SAME_ACTIVATIONS)


def _translated(value: Any) -> Any:
    """Reduce Keras 3's serialized objects to the form that tf_keras reads."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            return value["config"]["name"]
        if "class_name" in value and "config" in value:
            return {"class_name": value["class_name"], "config": value["config"]}
    return value


def _arguments(layer_class: type) -> set[str]:
    names = {"name", "trainable", "dtype"}
    for base in layer_class.__mro__:
        if base is tf_keras.layers.Layer:
            return names
        if "__init__" in base.__dict__:
            names |= set(inspect.signature(base.__init__).parameters)
    return names


def _defaults(layer_class: type) -> dict[str, Any]:
    parameters = inspect.signature(layer_class.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
