"""Trials of delivering a layer: its config, its .keras file, its SavedModel and its .tflite."""

import inspect
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.conversion import convert
from leankeras.diagnosis.source import is_library
from leankeras.diagnosis.trial import Trial, flat_arrays, largest_gap
from leankeras.diagnosis.weights import own_attributes
from leankeras.equivalence import RELATIVE
from leankeras.errors import ConversionError, DataError, one_line
from leankeras.graph import flat_layers


def try_delivery(trial: Trial) -> None:
    """Save and reload a layer, export it, convert it, and compare the outputs each time.

    Args:
        trial: the trial of a layer that accepts one sample and can be traced.
    """
    if trial.failed("random-at-inference", "graph-differs"):
        return  # nothing to compare with
    try:
        model = _as_model(trial)
    except (Exception, SystemExit) as error:
        message = f"it cannot be used in a functional model: {one_line(error)}"
        trial.record("graph-fails", message, error)
        return
    expected = trial.call(trial.batch())
    trial.record("wrong-output-shape", _wrong_shape(model, expected))
    with tempfile.TemporaryDirectory() as scratch:
        if not trial.failed("reload-fails"):
            _try_keras_file(trial, model, Path(scratch, "model.keras"), expected)
        if not trial.failed("dynamic-batch"):  # which an export requires
            _try_saved_model(trial, model, Path(scratch, "saved_model"), expected)
        if not trial.failed("savedmodel-fails"):  # which the converter starts from
            _try_tflite(trial, model, Path(scratch, "model.tflite"))


def try_config(trial: Trial) -> None:
    """Compare constructor arguments of the user's layers before and after a config round trip."""
    layers = {type(layer): layer for layer in custom_layers(trial.layer)}
    for cls, layer in layers.items():
        try:
            config = layer.get_config()
            # as loading a file does
            restored = keras.saving.deserialize_keras_object(
                keras.saving.serialize_keras_object(layer), _by_name(layers)
            )
        except (Exception, SystemExit) as error:
            message = f"{cls.__name__} cannot be rebuilt from its get_config: {one_line(error)}"
            trial.record("reload-fails", message)
            continue
        trial.kept_arguments |= {f"{cls.__name__}.{name}" for name in config}
        for name in inspect.signature(cls.__init__).parameters:
            before, after = getattr(layer, name, None), getattr(restored, name, None)
            if _is_plain(before) and _is_plain(after) and before != after:
                message = f"{cls.__name__}'s {name} is {before!r}, and {after!r} after a reload"
                trial.record("lost-argument", message)


def custom_layers(layer: keras.Layer) -> list[keras.Layer]:
    """The layers in a layer, itself included, whose class is the user's."""
    return [part for part in flat_layers(layer) if not is_library(type(part))]


def _by_name(classes: Iterable[type]) -> dict[str, type]:
    """The classes as custom objects; registered ones Keras finds on its own."""
    return {cls.__name__: cls for cls in classes}


def _wrong_shape(model: keras.Model, expected: list[np.ndarray]) -> str | None:
    for said, given in zip(keras.tree.flatten(model.outputs), expected, strict=False):
        same = len(said.shape) == given.ndim and all(
            size in (None, seen) for size, seen in zip(said.shape[1:], given.shape[1:], strict=True)
        )
        if not same:
            return f"it declares {tuple(said.shape)} and returns {given.shape}"
    return None


def _as_model(trial: Trial) -> keras.Model:
    if isinstance(trial.layer, keras.Model):
        return trial.layer
    batch = None if "dynamic-batch" in trial.passed else 1
    inputs = keras.tree.map_structure(
        lambda spec: keras.Input(batch_shape=(batch, *spec.shape[1:]), dtype=spec.dtype.name),
        trial.inputs.specs(1),
    )
    return keras.Model(inputs, trial.inputs.call(trial.layer, inputs))


def _try_keras_file(
    trial: Trial, model: keras.Model, path: Path, expected: list[np.ndarray]
) -> None:
    classes = _by_name({type(layer) for layer in custom_layers(model)})
    try:
        model.save(path)
        loaded = keras.models.load_model(path, custom_objects=classes, compile=False)
        seen = flat_arrays(loaded(trial.batch(), training=False))
    except (Exception, SystemExit) as error:
        trial.record("reload-fails", one_line(error))
        return
    trial.made_anew = {f"self.{name}" for name in _made_anew(model, loaded)}
    trial.record("reload-differs", _difference("reloaded, its", expected, seen))


def _try_saved_model(
    trial: Trial, model: keras.Model, path: Path, expected: list[np.ndarray]
) -> None:
    try:
        model.export(path, verbose=False)
        loaded = tf.saved_model.load(path)
        seen = flat_arrays(loaded.serve(trial.batch()))
    except (Exception, SystemExit) as error:
        trial.record("savedmodel-fails", one_line(error))
        return
    trial.record("savedmodel-fails", _difference("the SavedModel's", expected, seen))


def _try_tflite(trial: Trial, model: keras.Model, path: Path) -> None:
    samples = trial.inputs.everything()
    is_open = any(None in tensor.shape[1:] for tensor in keras.tree.flatten(model.inputs))
    try:
        conversion = convert(
            model, path, "float32", samples if is_open else None, evaluation=samples
        )
    except DataError:
        return  # the samples are to blame, not the layer
    except (Exception, SystemExit) as error:
        said = str(error) if isinstance(error, ConversionError) else one_line(error)
        trial.record("tflite-fails", said)
        return
    counts = conversion.operators.operator.value_counts()
    trial.figures["TFLite operators"] = ", ".join(f"{n} {name}" for name, n in counts.items())
    trial.record("tflite-fails", conversion.warning)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    return isinstance(value, (int, float, str, bool))


def _made_anew(model: keras.Model, loaded: keras.Model) -> set[str]:
    """The attributes whose tensors and arrays are equal in a reloaded model."""
    pairs = zip(custom_layers(model), custom_layers(loaded), strict=False)
    same: dict[str, bool] = {}
    for layer, other in pairs:
        for name, value in own_attributes(layer):
            if isinstance(value, (np.ndarray, tf.Variable, tf.Tensor)):
                equal = np.array_equal(np.asarray(value), np.asarray(getattr(other, name, None)))
                same[name] = same.get(name, True) and equal
    return {name for name, equal in same.items() if equal}


def _difference(whose: str, expected: list[np.ndarray], seen: list[np.ndarray]) -> str | None:
    apart = largest_gap(expected, seen, RELATIVE)
    return f"{whose} outputs differ by {apart:.3g}" if apart else None
