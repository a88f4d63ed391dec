"""A tf_keras layer that runs one Keras 3 operation, for operations without a tf_keras layer.

tensorflow-model-optimization copies layers through their configs, which cannot hold a live
operation. The config therefore holds a key by which the operation is looked up: every copy of a
bridge runs the same operation on the same variables.

Keras attaches masks to tensors; the wrappers of tensorflow-model-optimization lose them. A bridge
therefore takes masks as additional input tensors, and nothing in a twin has a mask attached.
"""

import itertools
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import keras
import tensorflow as tf
import tf_keras
from keras import tree
from tensorflow_model_optimization.python.core.clustering.keras.clusterable_layer import (
    ClusterableLayer,
)
from tensorflow_model_optimization.python.core.clustering.keras.clustering_algorithm import (
    ClusteringAlgorithm,
)
from tensorflow_model_optimization.python.core.sparsity.keras.prunable_layer import PrunableLayer

from leankeras.graph import mask_of, set_mask


@dataclass(frozen=True)
class TensorSlot:
    """The place of a tensor among the arguments of a call: the ``index``-th tensor.

    ``mask`` is the place of its mask, if Keras has attached one to it.
    """

    index: int
    mask: int | None = None


@dataclass(frozen=True, eq=False)
class OperationCall:
    """A Keras 3 operation with the structure of its arguments in a graph.

    Args:
        operation: a ``keras.Layer`` or an operation of ``keras.ops``.
        structure: the nesting of ``(args, kwargs)``.
        leaves: the flat arguments, each tensor replaced by its ``TensorSlot``.
    """

    operation: keras.Operation
    structure: Any
    leaves: tuple[Any, ...]

    @classmethod
    def of(
        cls, operation: keras.Operation, args: tuple, kwargs: dict
    ) -> tuple["OperationCall", list[keras.KerasTensor]]:
        """Split a symbolic call into its form and its tensors, including masks of tensors."""
        leaves, tensors = [], []
        for argument in tree.flatten((args, kwargs)):
            if not isinstance(argument, keras.KerasTensor):
                leaves.append(argument)
                continue
            found = [argument]
            # Only layers read masks or pass them on.
            if isinstance(operation, keras.layers.Layer) and mask_of(argument) is not None:
                found.append(mask_of(argument))
            leaves.append(TensorSlot(*range(len(tensors), len(tensors) + len(found))))
            tensors += found
        structure = tree.map_structure(lambda _: 0, (args, kwargs))
        return cls(operation, structure, tuple(leaves)), tensors

    def same_form(self, other: "OperationCall") -> bool:
        """Whether two calls of an operation differ only in their tensors."""
        try:
            return bool(self.leaves == other.leaves and self.structure == other.structure)
        except ValueError:  # comparing array arguments gives an array
            return False

    def run(self, tensors: list[tf.Tensor], training: bool | None) -> Any:
        """Run the operation on other tensors in the same places."""
        outputs = self._run(tensors, training)
        for output in tree.flatten(outputs):
            set_mask(output, None)
        return outputs

    def mask(self, tensors: list[tf.Tensor]) -> Any:
        """The mask that the operation attaches to its output while it runs."""
        return mask_of(self._run(tensors, training=False))

    def _run(self, tensors: list[tf.Tensor], training: bool | None) -> Any:
        def fill(leaf: Any) -> Any:
            if not isinstance(leaf, TensorSlot):
                return leaf
            tensor = tensors[leaf.index]
            if leaf.mask is not None:
                tensor = tf.identity(tensor)  # other layers must not see its mask
                set_mask(tensor, tensors[leaf.mask])
            return tensor

        args, kwargs = tree.pack_sequence_as(self.structure, [fill(leaf) for leaf in self.leaves])
        if isinstance(self.operation, keras.layers.Layer):
            # Accepted by every layer, and passed on to those inside it.
            kwargs = {**kwargs, "training": False if training is None else training}
        return self.operation(*args, **kwargs)


class HiddenMask(keras.Operation):
    """The mask that a user's layer attaches to its output, made known in advance.

    If an Embedding inside the layer makes the mask, Keras sees it only at run time.

    Args:
        call: the call of the layer.
    """

    def __init__(self, call: OperationCall) -> None:
        super().__init__(name=f"{call.operation.name}_mask")
        self._call = call

    def call(self, *tensors: tf.Tensor) -> tf.Tensor | None:
        """Run the layer on the tensors of its call, and return the mask."""
        return self._call.mask(list(tensors))


# Weak, so that a discarded model is freed; the bridges themselves hold their calls.
_CALLS: WeakValueDictionary[str, OperationCall] = WeakValueDictionary()
_numbers = itertools.count()


def register_call(call: OperationCall) -> str:
    """Give a call the key by which bridges find it; it lives as long as a bridge holds it."""
    key = f"{call.operation.name}:{next(_numbers)}"
    _CALLS[key] = call
    return key


class NearestCentroid(ClusteringAlgorithm):
    """Clustering for weights of any rank: each weight takes its nearest centroid."""

    def get_pulling_indices(self, weight: tf.Tensor) -> tf.Tensor:
        """Return the index of the nearest centroid for each weight, in the weight's shape."""
        return tf.argmin(tf.abs(tf.expand_dims(weight, -1) - self.cluster_centroids), axis=-1)


@tf_keras.utils.register_keras_serializable("leankeras")
class KerasOperation(tf_keras.layers.Layer, PrunableLayer, ClusterableLayer):
    """Runs a Keras 3 operation inside a tf_keras model and owns its variables.

    Kernels (trainable, rank 2 or more, not biases) are prunable, clusterable and quantizable.
    Each is an attribute ``weight_0``, ``weight_1``, ...; setting one to a tensor makes the
    operation compute with that tensor in place of its variable, which is how
    tensorflow-model-optimization puts clustered and quantized weights into a layer.

    Args:
        key: the result of ``register_call``.
        **kwargs: arguments of ``tf_keras.layers.Layer``.
    """

    def __init__(self, key: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._adopt(key)

    @tf.__internal__.tracking.no_automatic_dependency_tracking
    def _adopt(self, key: str) -> None:
        self.key = key
        self.operation_call = _CALLS[key]
        variables = getattr(self.operation_call.operation, "variables", [])
        # Biases of attention layers and GRUs also have rank 2.
        kernels = [v for v in variables if v.trainable and len(v.shape) >= 2 and v.name != "bias"]
        self.kernels = {f"weight_{index}": kernel for index, kernel in enumerate(kernels)}
        self._replaced = {}
        self._trained = [v.value for v in variables if v.trainable]
        self._trainable_weights.extend(self._trained)
        self._non_trainable_weights.extend(v.value for v in variables if not v.trainable)

    @property
    def operation(self) -> keras.Operation:
        """The Keras 3 layer or operation that this layer runs."""
        return self.operation_call.operation

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__.get("kernels", ()):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._replaced.get(name, self.kernels[name].value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__.get("kernels", ()):
            super().__setattr__(name, value)
            return
        if value is self.kernels[name].value:
            self._replaced.pop(name, None)
        else:
            self._replaced[name] = value
        # As in any tf_keras layer, a replaced weight no longer belongs to the layer.
        given_away = {id(self.kernels[replaced].value) for replaced in self._replaced}
        self._trainable_weights[:] = [v for v in self._trained if id(v) not in given_away]

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the operation.

        Args:
            inputs: a tensor, or a list of tensors as in the recorded call.
            training: passed on to a layer that accepts it.
        """
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if not self._replaced:
            return self.operation_call.run(tensors, training)
        mapping = [(self.kernels[name], value) for name, value in self._replaced.items()]
        replaced = {id(variable) for variable, _ in mapping}
        with keras.StatelessScope(state_mapping=mapping) as scope:
            outputs = self.operation_call.run(tensors, training)
        # The scope keeps updates (moving statistics, seeds) to itself; apply them.
        for variable in self.operation.variables:
            update = scope.get_current_value(variable)
            if update is not None and id(variable) not in replaced:
                variable.value.assign(update)
        return outputs

    def get_prunable_weights(self) -> list[tf.Variable]:
        """Return the kernels, as ``PrunableLayer`` requires."""
        return [kernel.value for kernel in self.kernels.values()]

    def get_clusterable_weights(self) -> list[tuple[str, tf.Variable]]:
        """Return names and kernels, as ``ClusterableLayer`` requires."""
        return [(name, kernel.value) for name, kernel in self.kernels.items()]

    def get_clusterable_algorithm(self, weight_name: str) -> type[ClusteringAlgorithm]:
        """Return the clustering algorithm for one of the kernels."""
        return NearestCentroid

    def get_config(self) -> dict[str, Any]:
        """Return the config, which holds the key of the operation."""
        return {**super().get_config(), "key": self.key}
