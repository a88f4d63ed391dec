"""How the new weights are carried over from the old ones, as Python.

A new weight is a rearrangement of old ones, so the shortest way to write it can be looked for: put
side by side along some axis, stacked along a new one, or turned, and reshaped.
"""

import re
from collections.abc import Sequence
from itertools import groupby, permutations

import keras
import numpy as np

from leankeras.rewriting.naming import weight_paths
from leankeras.rewriting.node import Node, in_order
from leankeras.rewriting.operations import OPERATIONS
from leankeras.rewriting.weights import first_places, only_moves, places_of

INDEX = re.compile(r"\[(\d+)\]")
STEP = re.compile(r"(\w+)|\[(\d+)\]")
MOST_AXES = 5  # of a weight that is tried in all its turns


class PortText:
    """Writes weights in terms of those of a layer called ``old``.

    Args:
        layer: the old layer.
    """

    def __init__(self, layer: keras.Layer) -> None:
        self._layer = layer
        self._paths = weight_paths(layer)
        self._starts = first_places(layer.variables)

    def __call__(self, node: Node, shape: tuple[int, ...] | None = None) -> str:
        """An expression for a node that depends on weights alone.

        Args:
            node: the node.
            shape: what shape to give it, by default its own.
        """
        shape = node.shape if shape is None else shape
        short = self._short(node, shape) if only_moves(node) else None
        if short:
            return short
        bare = node
        while bare.op == "reshape":
            bare = bare.inputs[0]
        text = self._long(bare)
        return text if shape == bare.shape else f"np.reshape({text}, {shape})"

    def _short(self, node: Node, shape: tuple[int, ...]) -> str | None:
        """It as one call on a list of old weights, if that is what it comes to."""
        leaves = {
            each.attributes["index"]: each for each in in_order([node]) if each.op == "weight"
        }
        wanted = places_of(node, self._starts).reshape(shape)
        owners = np.searchsorted(self._starts, wanted.ravel(), side="right") - 1
        order = list(dict.fromkeys(owners.tolist()))
        parts = [places_of(leaves[index], self._starts) for index in order]
        if sum(part.size for part in parts) != wanted.size:
            return None
        if len(parts) == 1:
            return self._turned(parts[0], wanted, f"old.{self._paths[order[0]]}")
        if len({part.shape for part in parts}) > 1:
            return None
        listed, rank = self._listed(order), parts[0].ndim
        found = []
        for name, join, axes in (
            ("np.concatenate", np.concatenate, range(rank)),
            ("np.stack", np.stack, range(rank + 1)),
        ):
            for axis in axes:
                joined = join(parts, axis)
                if np.array_equal(joined.ravel(), wanted.ravel()):
                    text = f"{name}({listed}, axis={-1 if axis == joined.ndim - 1 else axis})"
                    as_wanted = joined.shape == shape
                    found.append(text if as_wanted else f"np.reshape({text}, {shape})")
        return min(found, key=len, default=None)

    @staticmethod
    def _turned(part: np.ndarray, wanted: np.ndarray, text: str) -> str | None:
        """One old weight with its axes, and what lies along one of them, in another order."""
        if part.ndim > MOST_AXES:
            return None
        taken = np.unravel_index(wanted.ravel() - part.min(), part.shape)
        for axes in permutations(range(part.ndim)):
            turned = [part.shape[axis] for axis in axes]
            places = np.unravel_index(np.arange(part.size), turned)
            moved = [
                number
                for number, axis in enumerate(axes)
                if not np.array_equal(places[number], taken[axis])
            ]
            if len(moved) > 1:
                continue
            for number in moved:
                order = np.zeros(turned[number], int)
                order[places[number]] = taken[axes[number]]
                if not np.array_equal(order[places[number]], taken[axes[number]]):
                    break
                text = f"np.take({text}, {order.tolist()}, axis={axes[number]})"
            else:
                if axes != tuple(range(part.ndim)):
                    text = f"np.transpose({text}, {axes})"
                same = tuple(turned) == wanted.shape
                return text if same else f"np.reshape({text}, {wanted.shape})"
        return None

    def _listed(self, order: Sequence[int]) -> str:
        """Old weights as a list, by the lists that the old layer has them in."""
        groups = []
        for _, group in groupby(order, key=lambda index: INDEX.sub("[]", self._paths[index])):
            groups.append(self._group([self._paths[index] for index in group]))
        if any(group.startswith("[old.") and " for " not in group for group in groups):
            return f"[{', '.join(f'old.{self._paths[index]}' for index in order)}]"
        return " + ".join(groups)

    def _group(self, paths: list[str]) -> str:
        found = [INDEX.findall(path) for path in paths]
        moving = [
            number for number, each in enumerate(zip(*found, strict=True)) if len(set(each)) > 1
        ]
        if len(moving) != 1:
            return f"[{', '.join(f'old.{path}' for path in paths)}]"
        index = list(INDEX.finditer(paths[0]))[moving[0]]
        head, tail = paths[0][: index.start()], paths[0][index.end() :]
        places = [int(each[moving[0]]) for each in found]
        if places == list(range(self._length(head))):
            return f"[each{tail} for each in old.{head}]" if tail else f"list(old.{head})"
        between = list(range(places[0], places[-1] + 1)) == places
        chosen = f"range({places[0]}, {places[-1] + 1})" if between else str(tuple(places))
        return f"[old.{head}[i]{tail} for i in {chosen}]"

    def _length(self, head: str) -> int:
        value = self._layer
        for name, index in STEP.findall(head):
            if name and not hasattr(value, name):
                return -1
            value = getattr(value, name) if name else value[int(index)]
        return len(value)

    def _long(self, node: Node) -> str:
        """It operation by operation."""
        if node.op == "weight":
            return f"old.{self._paths[node.attributes['index']]}"
        if node.op == "constant":
            return f'np.array({node.value.tolist()}, "{node.dtype}")'
        if node.op in ("concatenate", "stack"):
            listed = ", ".join(self(each) for each in node.inputs)
            return f"np.{node.op}([{listed}], axis={node.attributes['axis']})"
        if node.op == "gather":
            indices = node.inputs[1].value.tolist()
            return f"np.take({self(node.inputs[0])}, {indices}, axis={node.attributes['axis']})"
        if node.op == "transpose":
            return f"np.transpose({self(node.inputs[0])}, {node.attributes['axes']})"
        inputs = [self(each) for each in node.inputs]
        return OPERATIONS[node.op].text(node.attributes, *inputs)
