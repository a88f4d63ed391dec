"""A saved model's config, whatever Keras wrote it, in the form that Keras 3 reads in safe mode.

An entry is what a file holds of a layer: ``class_name``, ``config`` and, in a graph, ``name`` and
``inbound_nodes``. Keras 3 reads an entry with the name of a public ``module`` in it; HDF5 files
lack that, and Keras 1 and 2 wrote other arguments and other nodes.
"""

from collections.abc import Sequence
from typing import Any

import keras

from leankeras.errors import ModelError
from leankeras.graph import operation_module
from leankeras.runtime.model_files import keras2

MODELS = ("Model", "Functional", "Sequential")
RECURRENT = ("RNN", "SimpleRNN", "LSTM", "GRU", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D")
CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer")


def current(entry: dict, major: int) -> dict:
    """The entry of a layer or a model as Keras 3 reads it; nested entries too.

    Args:
        entry: as it stands in the file.
        major: the major version of the Keras that wrote it, 2 or 3.

    Raises:
        ModelError: a layer that is code, that Keras 3 does not know, or that computes something
            Keras 3 cannot.
    """
    kind = entry["class_name"]
    if kind in MODELS:
        return _model(entry, major)
    registered = _registered(entry)
    if registered:
        config = _values(entry["config"], major)
        config.pop("batch_input_shape", None)
        return {"module": None, "class_name": kind, "config": config, "registered_name": registered}
    name = entry["config"].get("name", kind)
    if major >= 3:
        # only a layer's config says whether it is trainable; what keras.ops left says less
        operation = "trainable" not in entry["config"] and kind != "InputLayer"
        module = operation_module(kind) if operation else None
        if module:
            return {"module": module, "class_name": kind, "config": entry["config"]}
        _check_known(kind, name)
        return _builtin(kind, _values(entry["config"], major))
    if kind in keras2.OPERATIONS_OF_TENSORFLOW:
        return _tensorflow_operation(entry, name)
    _check_known(keras2.RENAMED.get(kind, kind), name)
    return _builtin(*keras2.layer(kind, _values(entry["config"], major)))


def layer_names(names: Sequence[str]) -> dict[str, str]:
    """Names in a file to names that Keras 3 allows, which hold no slash."""
    found: dict[str, str] = {}
    for name in names:
        allowed = name.replace("/", "_")
        while allowed != name and (allowed in names or allowed in found.values()):
            allowed += "_"
        found[name] = allowed
    return found


def entries(entry: dict) -> list[dict]:
    """The layers' entries of a model's, each with a ``name``."""
    config = entry["config"]
    listed = config if isinstance(config, list) else config["layers"]
    # a Sequential's layers have a name in their config only, an old nested one outside it only
    return [{"name": _name_of(each), **each} for each in listed]


def _name_of(entry: dict) -> str:
    config = entry["config"]
    return entry["name"] if "name" in entry or isinstance(config, list) else config["name"]


def _builtin(kind: str, config: dict) -> dict:
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}


def _check_known(kind: str, name: str) -> None:
    if kind in CODE:
        raise ModelError(
            f"holds a {kind} layer ({name}), which is code and is not run; replace it by a "
            "registered keras.layers.Layer subclass, or by keras.ops, and save again"
        )
    if kind in keras2.REMOVED:
        raise ModelError(
            f"holds a {kind} layer ({name}), which Keras 3 no longer has; build the model with a "
            "layer of your own in its place, and load the weights into that"
        )
    if not isinstance(getattr(keras.layers, kind, None), type):
        raise ModelError(
            f"Keras does not know the layer {kind} ({name}); import the module that defines it "
            "(--import MODULE on the command line) and decorate it with "
            "@keras.saving.register_keras_serializable()"
        )


def _registered(entry: dict) -> str | None:
    """The name that a custom class is registered under in this process."""
    kind, custom = entry["class_name"], keras.saving.get_custom_objects()
    for name in (entry.get("registered_name"), kind):
        if name in custom:
            return name
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
        inner["config"]["name"] = names[each["name"]]
        layers.append(inner)
    # "trainable": true of a model would thaw the layers in it that are frozen
    kept = {"name": config.get("name", entry.get("name", "sequential"))}
    if config.get("trainable") is False:
        kept["trainable"] = False
    if entry["class_name"] == "Sequential":
        _give_input(layers, listed, major)
        shape = _values(config.get("build_input_shape"), major)
        made = kept | {"layers": layers} | ({"build_input_shape": shape} if shape else {})
        return {"module": "keras", "class_name": "Sequential", "config": made}
    graph = _Graph(listed, names, major)
    for inner, each in zip(layers, listed, strict=True):
        inner["name"] = names[each["name"]]
        inner["inbound_nodes"] = [graph.node(each, node) for node in each["inbound_nodes"]]
    made = kept | {
        "layers": layers,
        "input_layers": graph.ends(config["input_layers"]),
        "output_layers": graph.ends(config["output_layers"]),
    }
    return {"module": "keras", "class_name": "Model", "config": made}


def _give_input(layers: list[dict], listed: list[dict], major: int) -> None:
    """Put an InputLayer before a Sequential's first layer where that one held the shape itself."""
    first = listed[0]["config"] if listed else None
    while isinstance(first, list):  # a Sequential in a Sequential, of an early Keras 2
        first = first[0]["config"]
    shape = first.get("batch_input_shape") if first else None
    if shape is None or layers[0]["class_name"] in ("InputLayer", "Sequential"):
        return
    config = {"batch_shape": _values(shape, major), "name": f"{layers[0]['config']['name']}_input"}
    if isinstance(dtype := _values(first.get("dtype"), major), str) and "mixed" not in dtype:
        config["dtype"] = dtype
    layers.insert(0, _builtin("InputLayer", config))


def _values(value: Any, major: int) -> Any:
    """A config's values as Keras 3 writes them, and the entries in them as it reads them."""
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
            # weights come from the file, and an initializer of Keras 2 has arguments of its own
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


class _Graph:
    """The nodes of a Functional model: which tensors each layer was called with."""

    def __init__(self, listed: Sequence[dict], names: dict[str, str], major: int) -> None:
        self.kinds = {each["name"]: each["class_name"] for each in listed}
        self.names = names
        self.major = major

    def node(self, entry: dict, node: Any) -> dict:
        """One call of a layer, as ``args`` and ``kwargs``."""
        if self.major >= 3:
            return self._renamed(node)
        kwargs: dict[str, Any] = {}
        first = self._tensors(node, kwargs)
        if isinstance(first, list) and len(first) == 1:
            (first,) = first
        kwargs = {name: self._argument(value) for name, value in kwargs.items()}
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        args = [first]
        kind = keras2.RENAMED.get(entry["class_name"], entry["class_name"])
        if kind in RECURRENT and isinstance(first, list):
            args, kwargs["initial_state"] = first[:1], first[1:]
        if kind in keras2.OPERATIONS_OF_TENSORFLOW:
            args += [kwargs.pop("y")] if "y" in kwargs else []
        return {"args": args, "kwargs": kwargs}

    def ends(self, ends: Any) -> Any:
        """``input_layers`` or ``output_layers``; a list of one stands for the one."""
        if isinstance(ends, dict):
            return {name: self.ends(end) for name, end in ends.items()}
        if _is_tensor(ends):
            name, index, output = ends[:3]
            # Keras 3 takes 1 off the index of a Functional model, as Keras 2 counts, but not of
            # a Sequential.
            if self.major < 3 and self.kinds[name] == "Sequential":
                index -= 1
            return [self.names[name], index, output]
        found = [self.ends(end) for end in ends]
        return found[0] if len(found) == 1 and self.major < 3 else found

    def _tensors(self, value: Any, kwargs: dict[str, Any]) -> Any:
        if _is_tensor(value):
            kwargs.update(value[3] if len(value) > 3 else {})
            return value[2] if value[0] == "_CONSTANT_VALUE" else self._tensor(*value[:3])
        if isinstance(value, list):
            return [self._tensors(item, kwargs) for item in value]
        if isinstance(value, dict):
            return {key: self._tensors(item, kwargs) for key, item in value.items()}
        return value

    def _argument(self, value: Any) -> Any:
        if _is_tensor(value) and value[0] in self.names:
            return self._tensor(*value[:3])
        if isinstance(value, list):
            return [self._argument(item) for item in value]
        return _values(value, self.major)

    def _tensor(self, name: str, index: int, output: int) -> dict:
        if name not in self.names:
            raise ModelError(f"its graph names the layer {name!r}, which it lacks; save it again")
        # A model in a model has a node of its own in Keras 2, which comes first.
        if self.kinds[name] in MODELS:
            index -= 1
        history = [self.names[name], index, output]
        config = {"shape": [], "dtype": "float32", "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": config}

    def _renamed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._renamed(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("class_name") == "__keras_tensor__" and value["config"].get("keras_history"):
            name, *place = value["config"]["keras_history"]
            history = [self.names[name], *place]
            return {**value, "config": value["config"] | {"keras_history": history}}
        return {key: self._renamed(item) for key, item in value.items()}


def _is_tensor(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def _tensorflow_operation(entry: dict, name: str) -> dict:
    """An operation of TensorFlow between layers, where keras.ops has the same one."""
    function = entry["config"].get("function")
    kind = keras2.TENSORFLOW_FUNCTIONS.get(function)
    if entry["class_name"] != "TFOpLambda" or kind is None:
        raise ModelError(
            f"uses {name} ({entry['class_name']}), an operation of TensorFlow outside any layer; "
            "replace it by a layer, or by keras.ops, and save it with Keras 3"
        )
    return {"module": operation_module(kind), "class_name": kind, "config": {}}
