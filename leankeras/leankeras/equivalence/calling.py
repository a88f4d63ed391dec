"""A layer as a function of flat inputs: how it takes them, run eagerly or as a graph.

Eager calls define what a layer computes. If its graph computes the same, the many calls of a check
run on the graph, where a loop of a hundred operations takes a hundredth of the time.
"""

import inspect
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.equivalence.shapes import pack
from leankeras.equivalence.tolerance import HALF_TYPES, RELATIVE, RELATIVE_16_BIT, distance
from leankeras.errors import EquivalenceError, one_line
from leankeras.graph import flat_layers, is_graph

Arrays = list[np.ndarray]
EMPTY = inspect.Parameter.empty


@dataclass
class Callee:
    """A layer, and how it takes its inputs.

    Args:
        name: its name in messages, "reference" or "candidate".
        layer: the layer to call.
        input_shape: checked shape of one sample, nested like the inputs.
        spread: whether each input is a separate argument, instead of all being the first one.
        graph: the traced call, for batches like the one it was traced on.
    """

    name: str
    layer: keras.Layer
    input_shape: Any
    spread: bool = False
    graph: Any = field(default=None, init=False)

    def __call__(self, tensors: list[Any], training: bool = False, **arguments: Any) -> list[Any]:
        """The flat outputs of an eager call; ``arguments`` are passed on to ``call``."""
        packed = pack(self.input_shape, tensors)
        args, kwargs = (packed,), {}
        if self.spread:
            args, kwargs = ((), packed) if isinstance(packed, dict) else (tuple(packed), {})
        with warnings.catch_warnings():
            # Keras warns of masks that end here; the check finds out whether they matter.
            warnings.filterwarnings("ignore", message=".*does not support masking")
            # Any error of a user's layer becomes one line that names the layer.
            try:
                outputs = self.layer(*args, **kwargs, **arguments, training=training)
            except Exception as error:
                raise self._rejection(tensors, error) from error
        return keras.tree.flatten(outputs)

    def run(self, arrays: Arrays) -> Arrays:
        """The outputs in inference mode as arrays, from the graph if it fits."""
        tensors = [tf.convert_to_tensor(array) for array in arrays]
        if self.graph is not None and self._fits(tensors):
            try:
                return as_arrays(keras.tree.flatten(self.graph(*tensors)))
            except tf.errors.OpError as error:
                raise self._rejection(tensors, error) from error
        return as_arrays(self(tensors))

    def eager(self, arrays: Arrays, training: bool = False) -> Arrays:
        """The outputs of an eager call as arrays."""
        return as_arrays(self([tf.convert_to_tensor(array) for array in arrays], training))

    def trace(self, arrays: Arrays) -> bool:
        """Have :meth:`run` use a graph for batches like this one; returns whether it can."""
        specs = [tf.TensorSpec(array.shape, array.dtype) for array in arrays]
        traced = tf.function(lambda *flat: self(list(flat)), autograph=False)  # as Keras does
        self.graph = None
        # A user's layer may raise anything when traced; it is then compared eagerly.
        with suppress(Exception):
            self.graph = traced.get_concrete_function(*specs)
        return self.graph is not None

    def keep_graph_if(self, arrays: Arrays, eager: Arrays) -> None:
        """Drop the graph unless its outputs equal those of the eager call."""
        if self.graph is not None:
            relative = RELATIVE_16_BIT if self.is_half() else RELATIVE
            pairs = zip(eager, self.run(arrays), strict=True)
            if not all(distance(*pair, relative).equal for pair in pairs):
                self.graph = None

    def is_half(self) -> bool:
        """Whether it computes in 16 bits anywhere."""
        types = {str(layer.compute_dtype) for layer in flat_layers(self.layer)}
        if self.graph is not None:
            operations = self.graph.graph.get_operations()
            types |= {output.dtype.name for each in operations for output in each.outputs}
        return bool(types & HALF_TYPES)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic inputs of a built model, in the order of flat inputs; otherwise empty."""
        return keras.tree.flatten(getattr(self.layer, "inputs", None) or [])

    def argument_names(self) -> list[str]:
        """The arguments of ``call`` that may be inputs."""
        return list(self._parameters())

    def _rejection(self, tensors: list[Any], error: Exception) -> EquivalenceError:
        return EquivalenceError(
            f"{self.name} {self.layer.name} rejects a batch of {len(tensors[0])} samples of shape "
            f"{self.input_shape} (the shape of one sample, without the batch): {one_line(error)}"
        )

    def _parameters(self) -> dict[str, Any]:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(self.layer.call).parameters.values()
        return {p.name: p.default for p in parameters if p.kind in kinds and p.name != "training"}

    @property
    def must_spread(self) -> bool:
        """Whether ``call`` needs an argument for each input."""
        if is_graph(self.layer) or isinstance(self.input_shape, tuple):
            return False
        required = [name for name, default in self._parameters().items() if default is EMPTY]
        if isinstance(self.input_shape, dict):
            return set(required) <= set(self.input_shape) <= set(self._parameters())
        return len(required) == len(self.input_shape) > 1

    @property
    def may_spread(self) -> bool:
        """Whether the first arguments of ``call`` may be one input each."""
        if self.must_spread or is_graph(self.layer) or not isinstance(self.input_shape, list):
            return self.must_spread
        names = self.argument_names()
        return len(names) >= len(self.input_shape) > 1 and names[0] not in ("inputs", "input")

    def _fits(self, tensors: list[Any]) -> bool:
        wanted = self.graph.inputs[: len(tensors)]
        return all(
            tensor.shape == place.shape and tensor.dtype == place.dtype
            for tensor, place in zip(tensors, wanted, strict=True)
        )


def as_arrays(outputs: list[Any]) -> Arrays:
    """Outputs as arrays of real numbers; complex ones as their real and imaginary parts."""
    arrays = [np.asarray(output) for output in outputs]
    return [
        np.stack([array.real, array.imag], axis=1) if array.dtype.kind == "c" else array
        for array in arrays
    ]
