"""A saved model's config, from any version of Keras, in the form Keras 3 reads in safe mode.

An entry describes a layer in a file: ``class_name``, ``config`` and, in a graph, ``name`` and
``inbound_nodes``. Keras 3 expects the name of a public ``module`` in an entry; HDF5 files lack
it, and Keras 1 and 2 wrote other arguments and other nodes.
"""

import json
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import keras

from leankeras.errors import ModelError
from leankeras.graph import application_module, operation_module
from leankeras.runtime.model_files import keras2
from leankeras.runtime.model_files.nodes import MODELS, Nodes

# Layers of our own by their registered names, with the modules that register them on import.
OWN = {"leankeras>Program": "leankeras.rewriting.program"}
CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer")


def register_own(config: dict) -> None:
    """Register the layers of our own that a model holds, since Keras opens no others."""
    text = json.dumps(config)
    for name, module in OWN.items():
        if json.dumps(name) in text:
            import_module(module)


def current(entry: dict, major: int) -> dict:
    """The entry of a layer or a model in the form Keras 3 reads; nested entries too.

    Args:
        entry: the entry in the file.
        major: the major version of the Keras that wrote it, 2 or 3.

    Raises:
        ModelError: a layer is code, is unknown to Keras 3, or computes something Keras 3 cannot.
    """
    kind = entry["class_name"]
    if kind in MODELS:
        return _model(entry, major)
    registered = _registered(entry, major)
    if registered:
        config = _values(entry["config"], major)
        config.pop("batch_input_shape", None)
        return {"module": None, "class_name": kind, "config": config, "registered_name": registered}
    if module := application_module(kind):
        config = _values(entry["config"], major)
        return {"module": module, "class_name": kind, "config": config, "registered_name": kind}
    name = entry["config"].get("name", kind)
    if major >= 3:
        # only a layer's config says whether it is trainable; that of a keras.ops operation does not
        operation = "trainable" not in entry["config"] and kind != "InputLayer"
        if operation and (module := operation_module(kind)):
            return {"module": module, "class_name": kind, "config": entry["config"]}
        _check_known(kind, name)
        return _builtin(kind, _values(entry["config"], major))
    if kind in keras2.OPERATIONS_OF_TENSORFLOW:
        return _tensorflow_operation(entry, name)
    _check_known(keras2.RENAMED.get(kind, kind), name)
    return _builtin(*keras2.layer(kind, _values(entry["config"], major)))


def layer_names(names: Sequence[str]) -> dict[str, str]:
    """Names in a file to names that Keras 3 allows, which contain no slash."""
    found: dict[str, str] = {}
    for name in names:
        allowed = name.replace("/", "_")
        while allowed != name and (allowed in names or allowed in found.values()):
            allowed += "_"
        found[name] = allowed
    return found


def entries(entry: dict) -> list[dict]:
    """The entries of the layers in a model's entry, each with a ``name``."""
    config = entry["config"]
    listed = config if isinstance(config, list) else config["layers"]
    # a Sequential's layers have a name only in their config, an old nested one only outside it
    return [{"name": _name_of(each), **each} for each in listed]


def _name_of(entry: dict) -> str:
    config = entry["config"]
    inner = config.get("name") if isinstance(config, dict) else None
    return entry.get("name") or inner or entry["class_name"]


def _builtin(kind: str, config: dict) -> dict:
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}


def _check_known(kind: str, name: str) -> None:
    if kind in CODE:
        raise ModelError(
            f"holds a {kind} layer ({name}), which is code and is not run; replace it with a "
            "registered keras.layers.Layer subclass, or with keras.ops, and save again"
        )
    if kind in keras2.REMOVED:
        raise ModelError(
            f"holds a {kind} layer ({name}), which Keras 3 no longer has; build the model with "
            "your own layer in its place, and load the weights into that"
        )
    if not isinstance(getattr(keras.layers, kind, None), type):
        raise ModelError(
            f"Keras does not know the layer {kind} ({name}); import the module that defines it "
            "(--import MODULE on the command line) and decorate it with "
            "@keras.saving.register_keras_serializable()"
        )


def _registered(entry: dict, major: int) -> str | None:
    """The name under which a custom class is registered in this process."""
    kind, custom = entry["class_name"], keras.saving.get_custom_objects()
    for name in (entry.get("registered_name"), kind):
        if name in custom:
            return name
    if major >= 3:
        return None
    # Keras 2 knew custom classes by their bare names
    candidates = [name for name in custom if name.rpartition(">")[2] == kind]
    is_builtin = isinstance(getattr(keras.layers, kind, None), type)
    return candidates[0] if len(candidates) == 1 and not is_builtin else None


def _model(entry: dict, major: int) -> dict:
    listed = entries(entry)
    config = entry["config"] if isinstance(entry["config"], dict) else {}
    names = layer_names([each["name"] for each in listed])
    layers = []
    for each in listed:
        inner = current(each, major)
        inner["name"] = names[each["name"]]
        if "name" in inner["config"] or inner["module"]:  # a custom layer may not accept one
            inner["config"]["name"] = inner["name"]
        layers.append(inner)
    # "trainable": true of a model would unfreeze the frozen layers in it
    kept = {"name": config.get("name", entry.get("name", "sequential"))}
    if config.get("trainable") is False:
        kept["trainable"] = False
    if entry["class_name"] == "Sequential":
        _give_input(layers, listed, major)
        shape = _values(config.get("build_input_shape"), major)
        made = kept | {"layers": layers} | ({"build_input_shape": shape} if shape else {})
        return {"module": "keras", "class_name": "Sequential", "config": made}
    graph = Nodes(listed, names, major, partial(_values, major=major))
    for inner, each in zip(layers, listed, strict=True):
        inner["inbound_nodes"] = [graph.node(each, node) for node in each["inbound_nodes"]]
    made = kept | {
        "layers": layers,
        "input_layers": graph.ends(config["input_layers"]),
        "output_layers": graph.ends(config["output_layers"]),
    }
    return {"module": "keras", "class_name": "Model", "config": made}


def _give_input(layers: list[dict], listed: list[dict], major: int) -> None:
    """Put an InputLayer before a Sequential's first layer if that layer held the shape itself."""
    first = listed[0]["config"] if listed else None
    while isinstance(first, list):  # a Sequential in a Sequential, of an early Keras 2
        first = first[0]["config"]
    shape = first.get("batch_input_shape") if first else None
    if shape is None or layers[0]["class_name"] in ("InputLayer", "Sequential"):
        return
    config = {"batch_shape": _values(shape, major), "name": f"{layers[0]['config']['name']}_input"}
    if isinstance(dtype := _values(first.get("dtype"), major), str) and "mixed" not in dtype:
        config["dtype"] = dtype
    layers.insert(0, _builtin("InputLayer", config) | {"name": config["name"]})


def _values(value: Any, major: int) -> Any:
    """A config's values as Keras 3 writes them, with the entries in them as it reads them."""
    if isinstance(value, list):
        return [_values(item, major) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("class_name")
    if kind is None or "config" not in value:
        if major < 3 and kind in ("__tuple__", "TensorShape"):
            return _values(value["items"], major)
        if major < 3 and set(value) == {"type", "value"}:  # a NumPy number
            return value["value"]
        return {
            key: _values(item, major)
            for key, item in value.items()
            # weights come from the file, and initializers of Keras 2 have other arguments
            if major >= 3 or not key.endswith("_initializer")
        }
    if major < 3:
        if kind in ("__numpy__", "__tensor__"):
            return value["config"]["value"]
        if kind in keras2.POLICIES:
            return keras2.policy(value)
        if kind in keras2.REGULARIZERS:
            module = "keras.constraints" if kind in keras2.CONSTRAINTS else "keras.regularizers"
            config = _values(value["config"], major)
            return {"module": module, "class_name": kind, "config": config}
        if kind == "function" and isinstance(value["config"], str):
            return value["config"]
    elif kind.startswith("__") or ("module" in value and "layers" not in value["config"]):
        return {**value, "config": _values(value["config"], major)}
    return current(value, major)


def _tensorflow_operation(entry: dict, name: str) -> dict:
    """A TensorFlow operation between layers, if keras.ops has the same one."""
    function = entry["config"].get("function")
    kind = keras2.TENSORFLOW_FUNCTIONS.get(function)
    if entry["class_name"] != "TFOpLambda" or kind is None:
        raise ModelError(
            f"uses {name} ({entry['class_name']}), a TensorFlow operation outside any layer; "
            "replace it with a layer, or with keras.ops, and save it with Keras 3"
        )
    return {"module": operation_module(kind), "class_name": kind, "config": {}}
