"""The tf_keras twin of a Keras 3 model, and the way back.

tensorflow-model-optimization works on tf_keras (Keras 2) models only. A twin is made by walking
the graph of the Keras 3 model and calling, at each node, the tf_keras layer that computes the
same, or a bridge that runs the Keras 3 operation itself. It is compared with its original every
time one is made.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tf_keras
from keras import tree

from leankeras.errors import TwinError, one_line
from leankeras.graph import (
    as_graph,
    copy_model,
    is_graph,
    new_inputs,
    packed_inputs,
    sample_inputs,
    walk,
)
from leankeras.twin.bridge import KerasOperation, OperationCall, register_call
from leankeras.twin.native import native_layer

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Twin:
    """A Keras 3 model, its tf_keras twin, and which layer of one is which of the other.

    Args:
        model: the tf_keras twin. Layers keep their names; nested models are written out.
        source: a private copy of the Keras 3 model, with which bridges share their variables.
            Train one model of a twin only, and make a new twin for the next.
        layers: for each layer with weights, by its name in ``model``: the layer of ``source``.
        native: names of the layers of ``model`` that are tf_keras's own.
        generic: names of the layers of ``model`` that are bridges.
        max_abs_diff: the largest difference to the original that was seen.

    Example:
        >>> twin = Twin.of(model)
        >>> pruned = strip_pruning(train(prune_low_magnitude(twin.model)))
        >>> keras_model = twin.write_back(pruned)
    """

    model: tf_keras.Model
    source: keras.Model
    layers: Mapping[str, keras.layers.Layer]
    native: tuple[str, ...]
    generic: tuple[str, ...]
    max_abs_diff: float

    @classmethod
    def of(
        cls,
        model: keras.Model,
        input_shape: Any = None,
        allow_native: Callable[[keras.layers.Layer], bool] = lambda layer: True,
    ) -> "Twin":
        """Make and verify the twin of a Keras 3 model.

        Args:
            model: Functional, Sequential, nested or subclassed; it is copied, never changed.
            input_shape: as for ``to_tf_keras``.
            allow_native: whether a layer may become a layer of tf_keras's own.

        Raises:
            ModelError: not a built Keras 3 model.
            TwinError: a layer cannot be copied, or the twin computes something else.
        """
        source = copy_model(model, input_shape)
        graph = as_graph(source, input_shape)
        builder = _Builder(graph, allow_native)
        return cls(
            model=builder.model,
            source=source,
            layers=builder.layers,
            native=tuple(builder.native),
            generic=tuple(builder.generic),
            max_abs_diff=_verify(model, graph, builder),
        )

    def write_back(self, trained: tf_keras.Model | None = None) -> keras.Model:
        """Return a new Keras 3 model with the weights of a trained tf_keras model.

        Args:
            trained: the twin or a model with layers of the same names (one whose wrappers were
                stripped); the twin itself by default.

        Raises:
            TwinError: a layer is missing or has other weights.
        """
        trained = self.model if trained is None else trained
        return self.with_weights({layer.name: layer.get_weights() for layer in trained.layers})

    def with_weights(self, weights: Mapping[str, Sequence[np.ndarray]]) -> keras.Model:
        """Return a new Keras 3 model with these weights, by name of the layer in the twin.

        Raises:
            TwinError: a layer is missing or has other weights.
        """
        for name in self.layers:
            if name not in weights:
                raise TwinError(
                    f"the trained model has no layer {name}; strip its wrappers first, so that it "
                    "has the layers of the twin"
                )
            _assign(name, self.weights_of(name), weights[name])
        return copy_model(self.source)

    def weights_of(self, name: str) -> list[keras.Variable]:
        """List the Keras 3 weights of a layer of the twin, in the order of tf_keras."""
        if name in self.native:
            return self.layers[name].weights
        # A bridge holds all variables, seeds too; tf_keras lists trainable ones first.
        return sorted(self.layers[name].variables, key=lambda variable: not variable.trainable)


def to_tf_keras(model: keras.Model, input_shape: Any = None) -> tf_keras.Model:
    """Rebuild a Keras 3 model in tf_keras, numerically verified.

    Every layer that tf_keras has is tf_keras's own, so that tensorflow-model-optimization knows
    it; custom layers, ``keras.ops`` and the rest run as they are inside a bridge layer.

    Args:
        model: a Functional, Sequential, nested or subclassed Keras 3 model; it is not changed.
        input_shape: shape of one sample, without the batch; needed for a subclassed model that
            has not been called. A list or dict of shapes for several inputs.

    Returns:
        A functional tf_keras model with the same inputs, outputs, weights and layer names; nested
        models are written out, a subclassed model is one layer.

    Raises:
        ModelError: not a built Keras 3 model.
        TwinError: a layer cannot be rebuilt, or the twin computes something else; the message
            names the first layer that differs.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, name="head")])
        >>> to_tf_keras(model).get_layer("head").units
        2
    """
    return Twin.of(model, input_shape).model


class _Builder:
    """Walks a Keras 3 graph on tf_keras tensors."""

    def __init__(
        self, graph: keras.Model, allow_native: Callable[[keras.layers.Layer], bool]
    ) -> None:
        self.layers: dict[str, keras.layers.Layer] = {}
        self.native: list[str] = []
        self.generic: list[str] = []
        # What each node gave, in the order of the walk: to find the first that differs.
        self.nodes: list[tuple[str, Any]] = []
        self._allow_native = allow_native
        self._native_layers: dict[int, tf_keras.layers.Layer | None] = {}
        self._bridges: dict[int, list[tuple[OperationCall, KerasOperation]]] = {}
        inputs = new_inputs(graph, tf_keras.Input)
        self._names = {tensor.name for tensor in tree.flatten(inputs)}
        self.model = tf_keras.Model(inputs, walk(graph, inputs, self._call), name=graph.name)
        for name in set(self.native) & set(self.layers):
            values = [weight.numpy() for weight in self.layers[name].weights]
            _assign(name, self.model.get_layer(name).weights, values)

    def _call(self, operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
        try:
            outputs = self._call_native(operation, args, kwargs)
            if outputs is None:
                outputs = self._call_bridge(operation, args, kwargs)
        except TwinError:
            raise
        except Exception as error:
            raise TwinError(
                f"{operation.name} ({type(operation).__name__}) cannot be rebuilt in tf_keras: "
                f"{one_line(error)}"
            ) from error
        self.nodes.append((operation.name, outputs))
        return outputs

    def _call_native(self, operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
        given = {name: value for name, value in kwargs.items() if value is not None}
        if id(operation) not in self._native_layers:
            layer = None
            if isinstance(operation, keras.layers.Layer) and self._allow_native(operation):
                layer = native_layer(operation)
            if layer is not None and not given.keys() <= _call_arguments(layer):
                layer = None
            self._native_layers[id(operation)] = layer
            if layer is not None:
                layer._name = self._record(operation, self.native)
        layer = self._native_layers[id(operation)]
        return None if layer is None else layer(*args, **given)

    def _call_bridge(self, operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
        call, tensors = OperationCall.of(operation, args, kwargs)
        bridges = self._bridges.setdefault(id(operation), [])
        bridge = next((bridge for made, bridge in bridges if made.same_form(call)), None)
        if bridge is None:
            name = self._record(operation, self.generic)
            bridge = KerasOperation(register_call(call), name=name)
            bridges.append((call, bridge))
        return bridge(tensors[0] if len(tensors) == 1 else tensors)

    def _record(self, operation: keras.Operation, kind: list[str]) -> str:
        """Give the operation's layer a name that no other has, and note what kind it is."""
        name, number = operation.name, 1
        while name in self._names:
            name, number = f"{operation.name}_{number}", number + 1
        self._names.add(name)
        kind.append(name)
        # The statistics of Normalization are constants in tf_keras.
        constant = isinstance(operation, keras.layers.Normalization) and kind is self.native
        if getattr(operation, "weights", None) and not constant:
            self.layers[name] = operation
        return name


def _call_arguments(layer: tf_keras.layers.Layer) -> set[str]:
    names = set(inspect.signature(layer.call).parameters)
    # RNN layers take it in __call__, before call.
    return names | {"initial_state"} if isinstance(layer, tf_keras.layers.RNN) else names


def _assign(name: str, variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    expected, seen = ([tuple(item.shape) for item in items] for items in (variables, values))
    if expected != seen:
        raise TwinError(f"layer {name}: weights of shapes {seen}, expected {expected}")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _verify(original: keras.Model, graph: keras.Model, builder: _Builder) -> float:
    """Compare the twin with its original on random inputs; return the largest difference."""
    inputs = packed_inputs(graph, sample_inputs(graph))
    pairs = list(
        zip(tree.flatten(original(inputs)), tree.flatten(builder.model(inputs)), strict=True)
    )
    if all(_equal(want, got) for want, got in pairs):
        return max(_difference(want, got) for want, got in pairs)
    name, difference = _first_difference(original, builder, inputs)
    raise TwinError(
        f"the tf_keras twin of {original.name} computes something else from layer {name} on "
        f"(difference {difference:.2g}, at most {TOLERANCE:g} expected); a layer whose result is "
        "random, or depends on what is neither a weight nor in its config, has no twin"
    )


def _first_difference(original: keras.Model, builder: _Builder, inputs: Any) -> tuple[str, float]:
    results = []

    def call(operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
        results.append(operation(*args, **kwargs))
        return results[-1]

    if is_graph(original):
        walk(as_graph(original), tree.map_structure(keras.ops.convert_to_tensor, inputs), call)
    else:
        results.append(original(inputs))
    probe = tf_keras.Model(builder.model.inputs, [outputs for _, outputs in builder.nodes])
    found = probe(tree.flatten(inputs))
    for (name, _), want, got in zip(builder.nodes, results, found, strict=True):
        for one, other in zip(tree.flatten(want), tree.flatten(got), strict=True):
            if not _equal(one, other):
                return name, _difference(one, other)
    return original.name, float("nan")


def _difference(one: Any, other: Any) -> float:
    one, other = (np.asarray(values, dtype="float64") for values in (one, other))
    return float(np.abs(one - other).max())


def _equal(one: Any, other: Any) -> bool:
    scale = float(np.abs(np.asarray(one, dtype="float64")).max())
    # Absolute for numbers around 1, relative for large ones, and for those so small that an
    # absolute tolerance would hide a wrong layer.
    limit = min(TOLERANCE * max(1.0, scale), 1e-3 * scale)
    return _difference(one, other) <= limit
