"""The tensors that each layer of a Functional model was called with, in Keras 3's notation.

Keras 2 kept a call as ``[[layer, call, output, keywords], ...]``; Keras 3 keeps its arguments.
"""

from collections.abc import Callable, Sequence
from typing import Any

from leankeras.errors import ModelError
from leankeras.runtime.model_files import keras2

MODELS = ("Model", "Functional", "Sequential")
RECURRENT = ("RNN", "SimpleRNN", "LSTM", "GRU", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D")


class Nodes:
    """The nodes of one model.

    Args:
        listed: its layers' entries in the file.
        names: the layers' names in the file to their new names.
        major: the major version of the Keras that wrote it, 2 or 3.
        read: converts a value in a call to Keras 3's notation.
    """

    def __init__(
        self,
        listed: Sequence[dict],
        names: dict[str, str],
        major: int,
        read: Callable[[Any], Any],
    ) -> None:
        self.kinds = {each["name"]: each["class_name"] for each in listed}
        self.names = names
        self.major = major
        self.read = read

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
        """``input_layers`` or ``output_layers``; a list of one is replaced by its item."""
        if isinstance(ends, dict):
            return {name: self.ends(end) for name, end in ends.items()}
        if _is_tensor(ends):
            name, index, output = ends[:3]
            # Keras 3 subtracts 1 from the index of a Functional model, to match Keras 2, but not
            # from that of a Sequential.
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
        return self.read(value)

    def _tensor(self, name: str, index: int, output: int) -> dict:
        if name not in self.names:
            raise ModelError(f"its graph names a layer {name!r} that it lacks; save it again")
        # In Keras 2 a nested model has an extra node of its own, which comes first.
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
