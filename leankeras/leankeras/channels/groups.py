"""The channels of a model that can only be removed together.

A model's graph is walked once from its inputs to its outputs. Every layer that makes channels gets
an id for each; if two tensors are added, their channels are joined; if a layer cannot be followed,
the channels that reach it are frozen. Joined channels can only be removed together. The idea is
the dependency graph of Fang et al., "DepGraph: Towards Any Structural Pruning"
(CVPR 2023, arXiv:2301.12900).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from leankeras.channels.flow import Call, Channels, unknown
from leankeras.channels.rules import is_elementwise, rule_for
from leankeras.errors import ModelError
from leankeras.graph import functional, is_graph, nodes_in_order


@dataclass(frozen=True)
class ChannelGroup:
    """Layers whose output channels can only be removed together.

    Attributes:
        layers: names of the layers that make the channels.
        channels: one id for each channel of the group; joined channels count once.
        frozen: the reason why each of them has to stay, or None.
    """

    layers: tuple[str, ...]
    channels: tuple[int, ...]
    frozen: tuple[str | None, ...]

    @property
    def removable(self) -> list[int]:
        """Ids of the channels that may be removed."""
        return [
            channel
            for channel, reason in zip(self.channels, self.frozen, strict=True)
            if reason is None
        ]

    @property
    def frozen_because(self) -> str:
        """The reasons, each once."""
        return "; ".join(dict.fromkeys(reason for reason in self.frozen if reason))


@dataclass(frozen=True)
class LayerChannels:
    """The channels along the weights and constructor arguments of one layer.

    Attributes:
        layer: the Keras layer or operation.
        weights: for each weight that has channels, in the layer's order: axis -> ids.
        sizes: constructor argument -> the ids it counts, or a shape with ids in place of a number.
        normalized: ids over which the layer takes a mean and variance, if it does.
    """

    layer: Any
    weights: tuple[dict[int, np.ndarray], ...]
    sizes: dict[str, Any]
    normalized: np.ndarray | None = None


class ChannelGraph:
    """The channels of a Functional or Sequential model, nested ones included.

    Args:
        model: a built Keras 3 model.
        leave: names of layers whose output channels must stay.

    Raises:
        ModelError: the model is not built, or subclassed, so it has no graph to read.

    Example:
        >>> graph = ChannelGraph(model)
        >>> [group.layers for group in graph.groups]
        [('stem',), ('block1', 'block2')]
    """

    def __init__(self, model: keras.Model, leave: Sequence[str] = ()) -> None:
        self.layers: dict[int, LayerChannels] = {}
        self.inputs: dict[int, list[Channels | None]] = {}
        self.producers: dict[str, np.ndarray] = {}
        self._parents: list[int] = []
        self._reasons: list[tuple[int, str]] = []
        functional = functional_of(model)
        if functional is None:
            state = "not built" if not model.built else "subclassed"
            raise ModelError(
                f"{model.name} is {state}, so its layers cannot be followed; "
                "expected a built Functional or Sequential model"
            )
        self.inputs[id(functional)] = [None] * len(functional.inputs)
        outputs = self._walk(functional, self.inputs[id(functional)], prefix="")
        for channels in outputs:
            if channels is not None:
                self.freeze(channels.ids, "model output")
        for name in leave:
            self.freeze(self.producers[self.check_name(name)], "left as asked")

    @property
    def groups(self) -> list[ChannelGroup]:
        """Every group, in the order of its first layer."""
        reasons: dict[int, str] = {}
        for channel, reason in self._reasons:
            reasons.setdefault(self.root(channel), reason)
        members: list[tuple[list[str], dict[int, None]]] = []
        for label, ids in self.producers.items():
            layers, channels = [label], dict.fromkeys(self.roots(ids).tolist())
            apart = []
            for other in members:
                if other[1].keys() & channels.keys():
                    layers, channels = other[0] + layers, other[1] | channels
                else:
                    apart.append(other)
            members = [*apart, (layers, channels)]
        order = list(self.producers)
        return [
            ChannelGroup(tuple(layers), tuple(channels), tuple(map(reasons.get, channels)))
            for layers, channels in sorted(members, key=lambda member: order.index(member[0][0]))
        ]

    def check_name(self, name: str) -> str:
        """The name, if it belongs to a layer that makes channels."""
        if name not in self.producers:
            raise ModelError(
                f"{name!r} is not a layer that makes channels; layers that do: "
                f"{', '.join(self.producers) or 'none'}"
            )
        return name

    def root(self, channel: int) -> int:
        """The id that represents all channels joined with this one."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def roots(self, ids: np.ndarray) -> np.ndarray:
        """The roots of an array of ids."""
        return np.array([self.root(channel) for channel in ids], dtype=int)

    def join(self, one: np.ndarray, other: np.ndarray) -> None:
        """Join channels position by position."""
        for left, right in zip(one, other, strict=True):
            self._parents[self.root(left)] = self.root(right)

    def freeze(self, ids: np.ndarray, reason: str) -> None:
        """Keep these channels, with a reason."""
        self._reasons.extend((int(channel), reason) for channel in ids)

    def fixed(self, size: int, reason: str) -> np.ndarray:
        """Ids for channels that stay because they belong to no followed layer."""
        ids = self._new(size)
        self.freeze(ids, reason)
        return ids

    def produce(self, label: str, size: int) -> np.ndarray:
        """Ids for the output channels of a layer, the same at each of its calls."""
        if label not in self.producers:
            self.producers[label] = self._new(size)
        return self.producers[label]

    def record(
        self,
        call: Call,
        weights: Sequence[Mapping[int, np.ndarray | None]],
        normalized: np.ndarray | None = None,
        **sizes: Any,
    ) -> None:
        """Record the channels along a layer's weights; a repeated call joins them."""
        known = [{axis: ids for axis, ids in axes.items() if ids is not None} for axes in weights]
        first = self.layers.setdefault(
            id(call.operation), LayerChannels(call.operation, tuple(known), sizes, normalized)
        )
        for axes, again in zip(first.weights, known, strict=True):
            for axis in axes.keys() | again.keys():
                if axis in axes and axis in again:
                    self.join(axes[axis], again[axis])
                else:
                    lone = axes.get(axis, again.get(axis))
                    self.freeze(lone, f"{call.label} is shared with channels that are fixed")

    def _new(self, size: int) -> np.ndarray:
        start = len(self._parents)
        self._parents.extend(range(start, start + size))
        return np.arange(start, start + size)

    def _walk(self, model: Any, inputs: list[Channels | None], prefix: str) -> list:
        tensors = {id(x): channels for x, channels in zip(model.inputs, inputs, strict=True)}
        nodes = nodes_in_order(model)
        calls = Counter(id(node.operation) for node in nodes)
        for node in nodes:
            operation = node.operation
            call = Call(
                operation,
                prefix + operation.name,
                [tensors[id(x)] for x in node.input_tensors],
                [tuple(x.shape) for x in node.input_tensors],
                tuple(node.outputs[0].shape),
                keras.tree.flatten((node.arguments.args, node.arguments.kwargs)),
                calls[id(operation)] > 1,
            )
            nested = functional_of(operation)
            if nested is None:
                outputs = self._follow(call, len(node.outputs))
            else:
                self._enter(nested, call)
                outputs = self._walk(nested, call.inputs, f"{call.label}/")
            tensors.update(zip(map(id, node.outputs), outputs, strict=True))
        return [tensors[id(x)] for x in model.outputs]

    def _follow(self, call: Call, outputs: int) -> list[Channels | None]:
        if outputs != 1:
            return [unknown(self, call)] * outputs
        channels = rule_for(call.operation)(self, call)
        if channels is not None and not is_elementwise(getattr(call.operation, "activation", None)):
            self.freeze(channels.ids, f"the activation of {call.label} cannot be followed")
            channels = None
        return [channels]

    def _enter(self, nested: Any, call: Call) -> None:
        first = self.inputs.setdefault(id(nested), call.inputs)
        for before, now in zip(first, call.inputs, strict=True):
            if before is not None and now is not None and before.axis == now.axis:
                self.join(before.ids, now.ids)
            else:
                for channels in (before, now):
                    if channels is not None:
                        reason = f"{call.label} is shared with channels that are fixed"
                        self.freeze(channels.ids, reason)


def functional_of(operation: Any) -> Any:
    """The graph inside a model, or None for a plain layer or a model without one."""
    if not is_graph(operation):
        return None
    return functional(operation)
