"""A Keras layer that runs a list of operations. It is data: it saves, loads and trains like any."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.errors import ModelError
from leankeras.rewriting.operations import KEPT_AS_THEY_ARE, MOVES, OPERATIONS, Batch

Reference = tuple[str, Any]  # ("input", 0), ("weight", "kernel"), ("constant", 2), ("value", 5)
IGNORED, PASSED_ON, REJECTED = MASKS = ("ignored", "passed on", "rejected")
PASSING = MOVES | {"split", "unstack", "item"}  # numbers through as they are
MOST_WRITTEN = 64  # numbers of a constant that are written out in a config


@dataclass(frozen=True)
class Statement:
    """One operation of a program.

    Args:
        op: a name in :data:`.operations.OPERATIONS`.
        inputs: what it takes.
        attributes: sizes may be a :class:`.operations.Batch`.
    """

    op: str
    inputs: tuple[Reference, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class WeightSpec:
    """A weight of a program: what ``add_weight`` is given."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool


@keras.saving.register_keras_serializable("leankeras")
class Program(keras.Layer):
    """Runs statements one after the other.

    Args:
        weights: what it trains.
        constants: fixed arrays.
        statements: what it computes; a statement may take what those before it gave.
        outputs: what it returns, nested, with a reference for each output.
        inputs: the type of each tensor it takes, such as "float32"; None does not check.
        masks: "ignored", "passed on" or "rejected": what it does with the Keras mask of an input.

    Takes the inputs of the layer that it was made from, in the same order.
    """

    def __init__(
        self,
        weights: Sequence[WeightSpec],
        constants: Sequence[np.ndarray],
        statements: Sequence[Statement],
        outputs: Any,
        inputs: Sequence[str] | None = None,
        masks: str = IGNORED,
        **kwargs: Any,
    ) -> None:
        kwargs = {"dtype": "float32", **kwargs, "autocast": False}
        super().__init__(**kwargs)
        for statement in statements:
            kind = statement.attributes.get("type")
            if statement.op not in OPERATIONS or (
                statement.op == "kept" and kind not in KEPT_AS_THEY_ARE
            ):
                raise ModelError(
                    f"a program with the operation {kind or statement.op!r}; expected one that "
                    "rewrite makes"
                )
        if masks not in MASKS:
            raise ModelError(f"a program with masks {masks!r}; expected one of {', '.join(MASKS)}")
        self.supports_masking = masks == PASSED_ON
        self.masks = masks
        self.input_dtypes = None if inputs is None else tuple(inputs)
        self.specs = tuple(weights)
        self.constants = tuple(constants)
        self.statements = tuple(statements)
        self.result = outputs
        self.variables_of_program = {
            spec.name: self.add_weight(
                name=spec.name, shape=spec.shape, dtype=spec.dtype, trainable=spec.trainable,
                initializer="glorot_uniform" if len(spec.shape) > 1 else "zeros",
            )
            for spec in self.specs
        }  # fmt: skip
        self.built = True

    def call(self, *inputs: Any, training: Any = None, mask: Any = None, **named: Any) -> Any:
        """The outputs for the inputs of the old layer.

        Raises:
            ModelError: other inputs than the old layer was traced with, or a mask it cannot take.
        """
        tensors = self._checked(keras.tree.flatten([*inputs, named]))
        if self.masks == REJECTED and any(each is not None for each in keras.tree.flatten([mask])):
            raise ModelError(
                f"{self.name} was rewritten for inputs without a Keras mask, and saw one; use the "
                "old layer here"
            )
        batch = tensors[0].shape[0] or tf.shape(tensors[0])[0]
        values: list[Any] = []

        def find(reference: Reference) -> Any:
            kind, place = reference
            if kind == "value":
                return values[place]
            if kind == "input":
                return tensors[place]
            if kind == "weight":
                return self.variables_of_program[place].value
            return tf.constant(self.constants[place])

        for statement in self.statements:
            attributes = {
                name: _sized(value, batch) for name, value in statement.attributes.items()
            }
            inputs_ = [find(each) for each in statement.inputs]
            values.append(OPERATIONS[statement.op].run(attributes, *inputs_))
        return map_references(find, self.result)

    def _checked(self, tensors: list[Any]) -> list[Any]:
        """The inputs, floats in the precision that the program was made for."""
        wanted = self.input_dtypes
        if wanted is None:
            return tensors
        if len(wanted) != len(tensors):
            raise ModelError(
                f"{self.name} was rewritten for a call with {len(wanted)} inputs; saw "
                f"{len(tensors)}; rewrite the old layer as it is called here"
            )
        checked = []
        for place, (given, dtype) in enumerate(zip(tensors, wanted, strict=True)):
            each = tf.convert_to_tensor(given)
            if each.dtype.is_floating == tf.as_dtype(dtype).is_floating:
                each = tf.cast(each, dtype)
            elif not self._is_cast(place):
                raise ModelError(
                    f"{self.name} was rewritten for inputs of {', '.join(wanted)}; saw "
                    f"{each.dtype.name}; rewrite the model that has the layer, where its types "
                    "are known"
                )
            checked.append(each)
        return checked

    def _is_cast(self, place: int) -> bool:
        """Whether an input is cast before anything is computed of it, so that any type will do."""
        bare: set[Reference] = {("input", place)}
        for number, statement in enumerate(self.statements):
            if statement.op != "cast" and bare & set(statement.inputs):
                index = statement.op == "gather" and statement.inputs[1] in bare
                if index or statement.op not in PASSING:
                    return False
                bare.add(("value", number))
        found: list[Reference] = []
        map_references(found.append, self.result)
        return not bare & {tuple(each) for each in found}

    def compute_output_spec(self, *inputs: Any, **named: Any) -> Any:
        """Found by running the program, since :meth:`compute_output_shape` knows no types."""
        return keras.Operation.compute_output_spec(self, *inputs, **named)

    def compute_output_shape(self, *shapes: Any) -> Any:
        """The shapes of the outputs, which wrappers such as ``TimeDistributed`` ask for."""

        dtypes = iter(self.input_dtypes or ())

        def found(shape: Any) -> Any:
            if isinstance(shape, Mapping):
                return {name: found(each) for name, each in shape.items()}
            if all(size is None or isinstance(size, int) for size in shape):
                return keras.KerasTensor(shape, next(dtypes, self.compute_dtype))
            return [found(each) for each in shape]

        outputs = self.compute_output_spec(*map(found, shapes))
        return keras.tree.map_structure(lambda each: each.shape, outputs)

    def get_config(self) -> dict[str, Any]:
        """All that it is, but for the values of its weights."""
        return {
            **super().get_config(),
            "weights": [vars(spec) for spec in self.specs],
            "constants": [_encoded(each) for each in self.constants],
            "statements": [
                {"op": s.op, "inputs": s.inputs, "attributes": _plain(s.attributes)}
                for s in self.statements
            ],
            "outputs": map_references(list, self.result),
            "inputs": self.input_dtypes,
            "masks": self.masks,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Program":
        """The program that gave this config, with weights of its own."""
        config = dict(config)
        weights = [
            WeightSpec(**{**each, "shape": tuple(each["shape"])}) for each in config.pop("weights")
        ]
        statements = [
            Statement(
                each["op"],
                tuple((kind, place) for kind, place in each["inputs"]),
                {name: _restored(value) for name, value in each["attributes"].items()},
            )
            for each in config.pop("statements")
        ]
        constants = [_decoded(each) for each in config.pop("constants")]
        outputs = map_references(tuple, config.pop("outputs"))
        return cls(weights, constants, statements, outputs, **config)


def map_references(function: Any, outputs: Any) -> Any:
    """A function of each reference in nested outputs."""
    if isinstance(outputs, Mapping):
        return {name: map_references(function, each) for name, each in outputs.items()}
    if len(outputs) == 2 and isinstance(outputs[0], str):
        return function(outputs)
    return [map_references(function, each) for each in outputs]


def _sized(value: Any, batch: Any) -> Any:
    """An attribute with the size of the batch in it; -1 where that is the only unknown."""
    if not isinstance(value, tuple) or not any(isinstance(each, Batch) for each in value):
        return value
    return tuple(each.times * batch if isinstance(each, Batch) else each for each in value)


def _plain(value: Any) -> Any:
    if isinstance(value, Batch):
        return {"batch": value.times}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Batch(value["batch"])
    return tuple(_restored(each) for each in value) if isinstance(value, list | tuple) else value


def _encoded(array: np.ndarray) -> dict[str, Any]:
    if array.size <= MOST_WRITTEN:
        return {"dtype": str(array.dtype), "shape": list(array.shape),
                "values": array.ravel().tolist()}  # fmt: skip
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "base64": data}


def _decoded(given: Mapping[str, Any]) -> np.ndarray:
    if "values" in given:
        return np.array(given["values"], given["dtype"]).reshape(given["shape"])
    data = np.frombuffer(base64.b64decode(given["base64"]), given["dtype"])
    return data.reshape(given["shape"]).copy()
