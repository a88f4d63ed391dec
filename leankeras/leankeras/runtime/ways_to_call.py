"""The ways to call one model, as a ladder from the slowest to the fastest."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from leankeras.arrays import Arrays
from leankeras.graph import without_dropout


def ladder(model: keras.Model, sample: Arrays, litert: str | Path | None = None) -> dict[str, Any]:
    """Targets for :func:`leankeras.compare_latency`, one for each way to call a model.

    Args:
        model: a built Keras model.
        sample: one input with its batch axis, shape ``(1, ...)``; of several inputs arrays by
            name.
        litert: the model's ``.tflite``, for the last rung.

    Returns:
        By name, in this order: "predict" (what tutorials call), "eager" (a plain call), and
        compiled: "tf.function", "input signature" (a batch of any size, traced once), "fixed
        shape" (batch 1, on a tensor made beforehand instead of a NumPy array), "XLA", "frozen
        graph" (weights turned into constants), "SavedModel" (written and loaded again),
        "LiteRT".

    Example:
        >>> compare_latency(ladder(model, x[:1]), x[:1], reference="tf.function")
    """
    tensor = tf.nest.map_structure(tf.constant, sample)
    any_batch = tf.nest.map_structure(
        lambda each: tf.TensorSpec((None, *each.shape[1:]), each.dtype), tensor
    )
    compiled = tf.function(_call(model))
    signature = tf.function(_call(model), input_signature=[any_batch])
    xla = tf.function(_call(model), jit_compile=True)
    with without_dropout(model):
        fixed = compiled.get_concrete_function(tensor)
        signature.get_concrete_function()
        xla.get_concrete_function(tensor)
    rungs: dict[str, Any] = {
        "predict": lambda x: model.predict(x, verbose=0),
        "eager": _call(model),
        "tf.function": compiled,
        "input signature": signature,
        "fixed shape": _on_tensor(fixed, tensor),
        "XLA": xla,
        "frozen graph": _frozen(fixed, tensor),
        "SavedModel": _on_tensor(_saved(model, tensor), tensor),
    }
    return rungs if litert is None else {**rungs, "LiteRT": litert}


def xla(models: Mapping[str, keras.Model]) -> dict[str, Any]:
    """Targets for :func:`leankeras.compare_latency`: each model compiled by XLA."""
    return {name: tf.function(_call(model), jit_compile=True) for name, model in models.items()}


def _call(model: keras.Model) -> Callable[[Any], Any]:
    def call(x):
        return model(x, training=False)

    return call


def _on_tensor(function: Callable[[Any], Any], tensor: Any) -> Callable[[Any], Any]:
    return lambda _: function(tensor)


def _frozen(function: Any, tensor: Any) -> Callable[[Any], Any]:
    frozen, flat = convert_variables_to_constants_v2(function), tf.nest.flatten(tensor)
    return lambda _: frozen(*flat)


def _saved(model: keras.Model, tensor: Any) -> Callable[[Any], Any]:
    # names of our own: TensorFlow's for inputs by name are others when the file is opened again
    flat = {f"input_{place}": each for place, each in enumerate(tf.nest.flatten(tensor))}
    specs = [tf.TensorSpec(each.shape, each.dtype, name) for name, each in flat.items()]
    function = tf.function(
        lambda *flat: model(tf.nest.pack_sequence_as(tensor, flat), training=False),
        input_signature=specs,
    )
    holder = tf.Module()
    holder.weights = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory() as folder, without_dropout(model):
        tf.saved_model.save(holder, folder, signatures=function.get_concrete_function())
        serve = tf.saved_model.load(folder).signatures["serving_default"]

    def call(x: Any) -> Any:
        outputs = serve(**dict(zip(flat, tf.nest.flatten(x), strict=True)))
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    return call
