"""The tf_keras twin of a Keras 3 model, and the way back.

tensorflow-model-optimization works only on tf_keras (Keras 2) models. A twin is made by walking
the graph of the Keras 3 model and calling, at each node, the tf_keras layer that computes the
same, or a bridge that runs the Keras 3 operation itself. Every new twin is compared with its
original.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tf_keras
from keras import tree

from leankeras.copying import HALF_PRECISION_TOLERANCE, copy_model, is_float32
from leankeras.errors import TwinError, one_line
from leankeras.graph import (
    as_graph,
    infer,
    is_composite,
    is_graph,
    mask_of,
    new_inputs,
    packed_inputs,
    producer,
    sample_inputs,
    set_mask,
    walk,
)
from leankeras.twin.bridge import HiddenMask, KerasOperation, OperationCall, register_call
from leankeras.twin.native import native_layer

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Twin:
    """A Keras 3 model, its tf_keras twin, and the correspondence of their layers.

    Args:
        model: the tf_keras twin. Layers keep their names; nested models are flattened.
        source: a private copy of the Keras 3 model, with which bridges share their variables.
            Train only one model from a twin, and make a new twin for the next.
        layers: name in ``model`` to the layer of ``source``, for each layer with weights.
        native: names of the layers of ``model`` that are tf_keras's own.
        generic: names of the layers of ``model`` that are bridges.
        max_abs_diff: the largest observed difference from the original.

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
        like: Any = None,
        allow_native: Callable[[keras.layers.Layer], bool] = lambda layer: True,
    ) -> "Twin":
        """Make and verify the twin of a Keras 3 model.

        Args:
            model: Functional, Sequential, nested or subclassed; it is copied, never changed.
            like: the shape of a sample, or some samples; see ``copy_model``.
            allow_native: whether a layer may become one of tf_keras's own layers.

        Raises:
            ModelError: not a built Keras 3 model.
            TwinError: a layer cannot be copied, or the twin computes something else.
        """
        source = copy_model(model, like)
        graph = as_graph(source, like)
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
            trained: the twin or a model with the same layer names (wrappers stripped); the twin
                itself by default.

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

    Layers that exist in tf_keras become tf_keras's own, which tensorflow-model-optimization knows;
    custom layers, ``keras.ops`` and the rest run unchanged inside a bridge layer, as do layers that
    read a mask, which becomes an additional input. A model in another precision is rebuilt in
    float32.

    Args:
        model: a Functional, Sequential, nested or subclassed Keras 3 model; it is not changed.
        input_shape: shape of one sample, without the batch; needed for a subclassed model that
            has not been called. A list or dict of shapes for several inputs.

    Returns:
        A functional tf_keras model with the same inputs, outputs, weights and layer names; nested
        models are flattened, a subclassed model is one layer.

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


@dataclass(frozen=True)
class _Call:
    """One call in a graph, on Keras's symbolic tensors."""

    operation: keras.Operation
    args: tuple
    kwargs: dict
    outputs: Any

    @property
    def given(self) -> dict[str, Any]:
        """The keyword arguments that are not None."""
        return {name: value for name, value in self.kwargs.items() if value is not None}

    @property
    def reads_mask(self) -> bool:
        """Whether the layer gets a mask as an argument, or reads that of a tensor."""
        parameters = getattr(self.operation, "call_signature_parameters", ())
        names = {name for name in parameters if name.endswith("mask")}
        tensors = [t for t in tree.flatten((self.args, self.kwargs)) if _is_symbolic(t)]
        return any(_is_symbolic(self.kwargs.get(name)) for name in names) or (
            bool(names) and any(mask_of(tensor) is not None for tensor in tensors)
        )


class _Builder:
    """Makes the twin call by call, from a walk through the graph that shows the masks."""

    def __init__(
        self, graph: keras.Model, allow_native: Callable[[keras.layers.Layer], bool]
    ) -> None:
        self.layers: dict[str, keras.layers.Layer] = {}
        self.native: list[str] = []
        self.generic: list[str] = []
        # The output of each node, in the order of the walk, to find the first that differs.
        self.nodes: list[tuple[str, Any]] = []
        self._native_layers: dict[int, tf_keras.layers.Layer | None] = {}
        self._bridges: dict[int, list[tuple[OperationCall, KerasOperation]]] = {}
        inputs, calls = new_inputs(graph), []

        def call(operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
            outputs = operation(*args, **kwargs)
            if is_composite(operation) and _is_symbolic(outputs) and mask_of(outputs) is None:
                _find_mask(operation, args, kwargs, outputs)
            calls.append(_Call(operation, args, kwargs, outputs))
            return outputs

        outputs = walk(graph, inputs, call)
        twin_inputs = new_inputs(graph, tf_keras.Input)
        pairs = zip(tree.flatten(inputs), tree.flatten(twin_inputs), strict=True)
        self._values = {id(tensor): twin for tensor, twin in pairs}
        self._inputs = {tensor.name for tensor in tree.flatten(twin_inputs)}
        self._names = _unique_names(calls, self._inputs)
        self._choose_native(calls, allow_native)
        for each in calls:
            self._run(each)
            found = tree.map_structure(self._value, each.outputs)
            self.nodes.append((each.operation.name, found))
        found = tree.map_structure(self._value, outputs)
        self.model = tf_keras.Model(twin_inputs, found, name=graph.name)
        for name in set(self.native) & set(self.layers):
            values = [weight.numpy() for weight in self.layers[name].weights]
            _assign(name, self.model.get_layer(name).weights, values)

    def _choose_native(
        self, calls: list[_Call], allow_native: Callable[[keras.layers.Layer], bool]
    ) -> None:
        """Make tf_keras's own layer for each layer that it can replace in all of its calls."""
        operations = {id(call.operation): call.operation for call in calls}
        for key, operation in operations.items():
            if not isinstance(operation, keras.layers.Layer) or not allow_native(operation):
                continue
            layer = native_layer(operation)
            if layer is not None and all(
                call.given.keys() <= _call_arguments(layer) and not call.reads_mask
                for call in calls
                if call.operation is operation
            ):
                layer._name = self._record(operation, self.native)
                self._native_layers[key] = layer

    def _value(self, tensor: Any) -> Any:
        """The twin's tensor for one of Keras's; other values are returned unchanged."""
        if not _is_symbolic(tensor):
            return tensor
        if id(tensor) not in self._values:  # no call in the graph produces it: it belongs to a mask
            node = producer(tensor)
            self._run(
                _Call(node.operation, node.arguments.args, node.arguments.kwargs, node.outputs)
            )
        return self._values[id(tensor)]

    def _run(self, call: _Call) -> None:
        try:
            layer = self._native_layers.get(id(call.operation))
            if layer is None:
                outputs = self._run_bridge(call)
            else:
                args, kwargs = tree.map_structure(self._value, (call.args, call.given))
                outputs = layer(*args, **kwargs)
        except TwinError:
            raise
        except Exception as error:
            raise TwinError(
                f"{call.operation.name} ({type(call.operation).__name__}) cannot be rebuilt in "
                f"tf_keras: {one_line(error)}"
            ) from error
        pairs = zip(tree.flatten(call.outputs), tree.flatten(outputs), strict=True)
        self._values.update({id(tensor): twin for tensor, twin in pairs})

    def _run_bridge(self, call: _Call) -> Any:
        form, tensors = OperationCall.of(call.operation, call.args, call.kwargs)
        bridges = self._bridges.setdefault(id(call.operation), [])
        bridge = next((bridge for made, bridge in bridges if made.same_form(form)), None)
        if bridge is None:
            name = self._record(call.operation, self.generic)
            bridge = KerasOperation(register_call(form), name=name)
            bridges.append((form, bridge))
        values = [self._value(tensor) for tensor in tensors]
        return bridge(values[0] if len(values) == 1 else values)

    def _record(self, operation: keras.Operation, kind: list[str]) -> str:
        """Name a layer of the twin after its operation, and record its kind."""
        taken = {*self.native, *self.generic}
        name = self._names.get(id(operation), operation.name)
        if name in taken or id(operation) not in self._names:
            name = _unlike(operation.name, taken.union(self._names.values(), self._inputs))
        kind.append(name)
        # The statistics of Normalization are constants in tf_keras.
        constant = isinstance(operation, keras.layers.Normalization) and kind is self.native
        if getattr(operation, "weights", None) and not constant:
            self.layers[name] = operation
        return name


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _find_mask(operation: keras.Operation, args: tuple, kwargs: dict, output: Any) -> None:
    """Attach the mask that layers inside an operation attach to its output, if any."""
    form, tensors = OperationCall.of(operation, args, kwargs)
    hidden = HiddenMask(form)
    if hidden.compute_output_spec(*tensors) is not None:
        set_mask(output, hidden(*tensors))


def _unique_names(calls: list[_Call], taken: set[str]) -> dict[int, str]:
    """A name for each operation: its own, with a number if that is already taken."""
    names: dict[int, str] = {}
    for call in calls:
        if id(call.operation) not in names:
            names[id(call.operation)] = _unlike(call.operation.name, taken.union(names.values()))
    return names


def _unlike(stem: str, taken: set[str]) -> str:
    name, number = stem, 1
    while name in taken:
        name, number = f"{stem}_{number}", number + 1
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
    references = [(original, TOLERANCE)]
    if not is_float32(original):  # compare loosely with the model, closely with its float32 copy
        references = [(original, HALF_PRECISION_TOLERANCE), (graph, TOLERANCE)]
    found = tree.flatten(builder.model(inputs, training=False))
    for model, tolerance in references:
        pairs = list(zip(tree.flatten(infer(model, inputs)), found, strict=True))
        if not all(_equal(want, got, tolerance) for want, got in pairs):
            name, difference = _first_difference(model, builder, inputs, tolerance)
            raise TwinError(
                f"the tf_keras twin of {original.name} computes something else from layer {name} "
                f"on (difference {difference:.2g}, at most {tolerance:g} expected); a layer whose "
                "result is random, or depends on state outside its weights and config, has no twin"
            )
    return max(_difference(want, got) for want, got in pairs)


def _first_difference(
    original: keras.Model, builder: _Builder, inputs: Any, tolerance: float
) -> tuple[str, float]:
    results = []

    def call(operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
        results.append(infer(operation, *args, **kwargs))
        return results[-1]

    if is_graph(original):
        walk(as_graph(original), tree.map_structure(keras.ops.convert_to_tensor, inputs), call)
    else:
        results.append(infer(original, inputs))
    probe = tf_keras.Model(builder.model.inputs, [outputs for _, outputs in builder.nodes])
    found = probe(tree.flatten(inputs), training=False)
    for (name, _), want, got in zip(builder.nodes, results, found, strict=True):
        for one, other in zip(tree.flatten(want), tree.flatten(got), strict=True):
            if not _equal(one, other, tolerance):
                return name, _difference(one, other)
    return original.name, float("nan")


def _difference(one: Any, other: Any) -> float:
    one, other = (np.asarray(values, dtype="float64") for values in (one, other))
    return float(np.abs(one - other).max())


def _equal(one: Any, other: Any, tolerance: float) -> bool:
    scale = float(np.abs(np.asarray(one, dtype="float64")).max())
    # Absolute for numbers around 1, relative for large ones, and for those so small that an
    # absolute tolerance would hide a wrong layer.
    limit = min(tolerance * max(1.0, scale), max(tolerance, 1e-3) * scale)
    return one.shape == other.shape and _difference(one, other) <= limit
