"""Whole models in HDF5, as every Keras wrote them (before 2.12 also under ``.keras``)."""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from leankeras.errors import ModelError
from leankeras.graph import flat_layers
from leankeras.runtime.model_files import keras1, keras2
from leankeras.runtime.model_files.config import current, entries, layer_names, register_own

MODEL_WEIGHTS = "model_weights"
CLAIMED_BYTES = 2**30  # above this, the data of an array must really be in the file


def open_hdf5(path: Path) -> keras.Model:
    """Open a whole model: read its config, build its layers with Keras 3, set its weights.

    Raises:
        ModelError: the file holds only weights or links to other files, or Keras 3 cannot build
            the model.
    """
    with h5py.File(path) as file:
        check_contents(file)
        config = file.attrs.get("model_config")
        if config is None:
            raise ModelError(
                "holds weights only; build the model, load them with model.load_weights and save "
                "all of it with model.save('model.keras')"
            )
        entry = json.loads(config)
        register_own(entry)
        weights = file[MODEL_WEIGHTS]
        major = int(_text(weights.attrs.get("keras_version", b"1")).partition(".")[0])
        backend = _text(weights.attrs.get("backend", b"tensorflow"))
        values = saved_weights(weights)
    if major == 1:
        entry, values = keras1.as_keras2(entry, values)
    if major < 3:
        by_name = {each["name"]: each for each in entries(entry)}
        values = {
            name: keras2.arrays(by_name[name], arrays, backend) if name in by_name else arrays
            for name, arrays in values.items()
        }
    return rebuild(entry, max(major, 2), values)


def rebuild(entry: dict, major: int, weights: Mapping[str, list[np.ndarray]]) -> keras.Model:
    """Build a model from its entry in a file, and set its weights.

    Args:
        entry: its class and config, as in the file.
        major: the major version of the Keras that wrote them.
        weights: layer name to arrays, the trainable ones first.
    """
    made = current(entry, major)
    model = keras.saving.deserialize_keras_object(deepcopy(made), safe_mode=True)  # changes it
    if not model.built:
        raise ModelError(
            "does not give the shape of its inputs; build the model with an Input, load the "
            "weights of the file and save it again"
        )
    names = layer_names([each["name"] for each in entries(entry)])
    values = {names.get(name, name): arrays for name, arrays in weights.items() if arrays}
    layers = {each["name"]: each for each in made["config"]["layers"]}
    # custom layers whose config omits their name have new names, in the same order
    renamed = [layer.name for layer in model.layers if layer.name not in layers]
    nameless = [name for name, each in layers.items() if "name" not in each["config"]]
    was = dict(zip(renamed, nameless, strict=True))
    for layer in model.layers:
        name = was.get(layer.name, layer.name)
        _set(layer, layers[name], values.pop(name, []))
    if values:
        raise ModelError(f"holds weights of {', '.join(values)}, which its config lacks")
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return model


def saved_weights(group: h5py.Group) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer by its name, in the order in which Keras wrote them."""
    return {
        name: [np.asarray(group[name][weight]) for weight in _names(group[name], "weight_names")]
        for name in _names(group, "layer_names")
    }


def check_contents(file: h5py.File) -> None:
    """Refuse a file that links to other files, or that claims to hold far more than it does."""

    def wrong_link(name: str, link: Any) -> str | None:
        return None if isinstance(link, h5py.HardLink) else f"holds a link to elsewhere ({name})"

    def wrong_item(name: str, item: Any) -> str | None:
        if not isinstance(item, h5py.Dataset):
            return None
        if item.is_virtual or item.external:
            return f"takes {name} from another file"
        claimed = item.size * item.dtype.itemsize
        if claimed > CLAIMED_BYTES and claimed > 100 * item.id.get_storage_size():
            return f"claims {claimed / 1e9:.0f} GB for {name}, which it does not hold"
        return None

    # a visitor's return value ends the visit; h5py loses its exceptions
    wrong = file.visititems_links(wrong_link) or file.visititems(wrong_item)
    if wrong:
        raise ModelError(f"{wrong}; do not trust this file")


def _set(layer: keras.Layer, entry: dict, values: list[np.ndarray]) -> None:
    trainable, others = _in_saved_order(layer, entry)
    variables = [*trainable, *others]
    expected = [tuple(variable.shape) for variable in variables]
    if [value.shape for value in values] != expected:
        seen = [value.shape for value in values]
        raise ModelError(
            f"layer {layer.name} ({type(layer).__name__}) takes weights of shapes {expected}, the "
            f"file holds {seen}; save the model again"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _in_saved_order(layer: keras.Layer, entry: dict) -> tuple[list, list]:
    """A layer's trainable and other weights; a model's in the order of the layers in its config."""
    inner = entry["config"].get("layers") if isinstance(layer, keras.Model) else None
    if not inner:
        return layer.trainable_weights, layer.non_trainable_weights
    layers = {inner.name: inner for inner in layer.layers}  # a Sequential's inputs are not in it
    found = [(layers.get(each["name"]), each) for each in inner]
    parts = [_in_saved_order(inner, each) for inner, each in found if inner is not None]
    trainable, others = ([v for part in parts for v in part[kind]] for kind in (0, 1))
    return trainable, others


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names, which Keras splits into numbered attributes if it is long."""
    if attribute in group.attrs:
        return [_text(name) for name in group.attrs[attribute]]
    parts: list[str] = []
    while (key := f"{attribute}{len(parts)}") in group.attrs:
        parts.append(key)
    return [_text(name) for key in parts for name in group.attrs[key]]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
