"""Build the model that remains when channels are removed, or only masked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd

from leankeras.channels.groups import ChannelGraph, LayerChannels, functional_of
from leankeras.copying import copy_layer
from leankeras.graph import input_name, run_graph


@dataclass(frozen=True)
class Removal:
    """The channels to remove from a model; prints as a table of groups.

    Attributes:
        model: the original model.
        graph: its channels and groups.
        removed: ids of the channels to remove.
    """

    model: keras.Model
    graph: ChannelGraph
    removed: frozenset[int]

    @property
    def table(self) -> pd.DataFrame:
        """One row for each group: group, layers, channels, removed, frozen because."""
        return pd.DataFrame(
            [
                {
                    "group": number,
                    "layers": ", ".join(group.layers),
                    "channels": len(group.channels),
                    "removed": len(self.removed.intersection(group.channels)),
                    "frozen because": group.frozen_because,
                }
                for number, group in enumerate(self.graph.groups)
            ]
        )

    def __str__(self) -> str:
        table = self.table
        total = table["channels"].sum()
        return (
            f"{self.model.name}: {table['removed'].sum()} of {total} channels to remove "
            f"in {len(table)} groups\n{table.to_string(index=False)}"
        )

    def apply(self) -> keras.Model:
        """The smaller model, without the removed channels."""
        return _Rebuilding(self.graph, self._resized, self._kept_slices, self._count).run(
            self.model
        )

    def mask(self) -> keras.Model:
        """The original model, with every weight of a removed channel set to zero.

        LayerNormalization takes its mean and variance over the remaining channels.
        """
        return _Rebuilding(self.graph, self._masked, self._zeroed, len).run(self.model)

    def _kept(self, ids: np.ndarray) -> np.ndarray:
        """The positions on an axis that remain."""
        return np.flatnonzero([root not in self.removed for root in self.graph.roots(ids)])

    def _count(self, ids: np.ndarray) -> int:
        return len(self._kept(ids))

    def _resized(self, layer: LayerChannels) -> Any:
        def resize(size: Any) -> Any:
            if isinstance(size, np.ndarray):
                return self._count(size)
            return tuple(map(resize, size)) if isinstance(size, tuple) else size

        sizes = {argument: resize(size) for argument, size in layer.sizes.items()}
        return type(layer.layer).from_config({**layer.layer.get_config(), **sizes})

    def _kept_slices(self, weight: np.ndarray, axes: dict[int, np.ndarray]) -> np.ndarray:
        for axis, ids in axes.items():
            weight = weight.take(self._kept(ids), axis)
        return weight

    def _masked(self, layer: LayerChannels) -> Any:
        config = layer.layer.get_config()
        if layer.normalized is None:
            return type(layer.layer).from_config(config)
        kept = np.isin(np.arange(len(layer.normalized)), self._kept(layer.normalized))
        return _MaskedLayerNormalization(kept.tolist(), **config)

    def _zeroed(self, weight: np.ndarray, axes: dict[int, np.ndarray]) -> np.ndarray:
        for axis, ids in axes.items():
            shape = [1] * weight.ndim
            shape[axis] = -1
            kept = np.isin(np.arange(len(ids)), self._kept(ids))
            weight = weight * kept.reshape(shape).astype(weight.dtype)
        return weight


class _MaskedLayerNormalization(keras.layers.LayerNormalization):
    """Layer normalization whose mean and variance leave out the masked channels."""

    def __init__(self, kept: list[bool], **config: Any) -> None:
        super().__init__(**config)
        self.kept = kept

    def call(self, inputs: Any) -> Any:
        shape = [1] * len(inputs.shape)
        (axis,) = [self.axis] if isinstance(self.axis, int) else self.axis
        shape[axis] = len(self.kept)
        share = np.reshape(np.array(self.kept) / sum(self.kept), shape).astype(self.compute_dtype)
        mean = keras.ops.sum(inputs * share, axis, keepdims=True)
        variance = keras.ops.sum((inputs - mean) ** 2 * share, axis, keepdims=True)
        outputs = (inputs - mean) * keras.ops.rsqrt(variance + self.epsilon)
        if self.scale:
            outputs = outputs * keras.ops.reshape(self.gamma, shape)
        if self.center:
            outputs = outputs + keras.ops.reshape(self.beta, shape)
        return outputs * np.reshape(self.kept, shape).astype(self.compute_dtype)


class _Rebuilding:
    """Rebuilds a model layer by layer.

    Args:
        graph: the channels of the model.
        make: returns the new layer for one whose channels are known.
        cut: returns the new values of a weight, from the old ones and the channels on its axes.
        resize: returns the new size of an axis on which these channels lie.
    """

    def __init__(
        self,
        graph: ChannelGraph,
        make: Callable[[LayerChannels], Any],
        cut: Callable[[np.ndarray, dict[int, np.ndarray]], np.ndarray],
        resize: Callable[[np.ndarray], int],
    ) -> None:
        self._graph, self._make, self._cut, self._resize = graph, make, cut, resize
        self._built: dict[int, tuple[Any, Any]] = {}

    def run(self, model: keras.Model) -> keras.Model:
        built = self._model(model)
        for old, new in self._built.values():
            if isinstance(old, keras.layers.Layer) and functional_of(old) is None:
                weights = old.get_weights()
                known = self._graph.layers.get(id(old))
                axes = known.weights if known else ()
                cut = [
                    self._cut(weight, along) for weight, along in zip(weights, axes, strict=False)
                ]
                new.set_weights(cut + weights[len(cut) :])
                if isinstance(new, keras.layers.Normalization):
                    new.finalize_state()
        return built

    def _model(self, model: keras.Model) -> keras.Model:
        functional = functional_of(model)
        inputs = [
            self._input(tensor, channels)
            for tensor, channels in zip(
                functional.inputs, self._graph.inputs[id(functional)], strict=True
            )
        ]
        if isinstance(model, keras.Sequential):
            layers = [self._operation(layer) for layer in model.layers]
            return keras.Sequential([*inputs, *layers], name=model.name)
        inputs = keras.tree.pack_sequence_as(model.input, inputs)
        outputs = run_graph(model, inputs, exchange=self._operation)
        return keras.Model(inputs, outputs, name=model.name)

    def _input(self, tensor: Any, channels: Any) -> Any:
        shape = list(tensor.shape)
        if channels is not None:
            shape[channels.axis] = self._resize(channels.ids)
        return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=input_name(tensor))

    def _operation(self, operation: Any) -> Any:
        if id(operation) not in self._built:
            self._built[id(operation)] = (operation, self._new(operation))
        return self._built[id(operation)][1]

    def _new(self, operation: Any) -> Any:
        if functional_of(operation) is not None:
            return self._model(operation)
        known = self._graph.layers.get(id(operation))
        return copy_layer(operation) if known is None else self._make(known)
