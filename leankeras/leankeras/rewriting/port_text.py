"""How the new weights are carried over from the old ones, as Python."""

import re
from collections.abc import Sequence

import keras

from leankeras.rewriting.node import Node
from leankeras.rewriting.operations import OPERATIONS

INDEX = re.compile(r"\[(\d+)\]")


class PortText:
    """Writes weights in terms of those of a layer called ``old``.

    Args:
        layer: the old layer.
        paths: how each of its variables is reached.
    """

    def __init__(self, layer: keras.Layer, paths: Sequence[str]) -> None:
        self._layer = layer
        self._paths = paths

    def __call__(self, node: Node, shape: tuple[int, ...] | None = None) -> str:
        """An expression for a node that depends on weights alone."""
        if shape is not None and shape != node.shape:
            inner = node.inputs[0] if node.op == "reshape" else node
            if inner.shape == shape:
                return self(inner)
            return f"np.reshape({self(inner)}, {shape})"
        if node.op == "weight":
            return f"old.{self._paths[node.attributes['index']]}"
        if node.op == "constant":
            return f'np.array({node.value.tolist()}, "{node.dtype}")'
        if node.op in ("concatenate", "stack"):
            return self._joined(node)
        if node.op == "gather":
            indices = node.inputs[1].value.tolist()
            return f"np.take({self(node.inputs[0])}, {indices}, axis={node.attributes['axis']})"
        if node.op == "reshape":
            return f"np.reshape({self(node.inputs[0])}, {node.shape})"
        if node.op == "transpose":
            return f"np.transpose({self(node.inputs[0])}, {node.attributes['axes']})"
        inputs = [self(each) for each in node.inputs]
        return OPERATIONS[node.op].text(node.attributes, *inputs)

    def _joined(self, node: Node) -> str:
        axis, parts = node.attributes["axis"], list(node.inputs)
        expanded = [
            each.op == "reshape"
            and each.shape
            == (*each.inputs[0].shape[:axis], 1, *each.inputs[0].shape[axis:])
            for each in parts
        ]
        stacked = node.op == "stack" or all(expanded)
        if node.op == "concatenate" and stacked:
            parts = [each.inputs[0] for each in parts]
        name = "np.stack" if stacked else "np.concatenate"
        if axis == len(node.shape) - 1 and axis > 0:
            axis = -1
        listed = self._listed(parts) or f"[{', '.join(self(each) for each in parts)}]"
        return f"{name}({listed}, axis={axis})"

    def _listed(self, parts: Sequence[Node]) -> str | None:
        """Weights that an attribute holds a list of, as that list."""
        if len(parts) < 2 or any(each.op != "weight" for each in parts):
            return None
        paths = [self._paths[each.attributes["index"]] for each in parts]
        indices = [INDEX.findall(path) for path in paths]
        if any(len(found) != 1 for found in indices) or len({INDEX.sub("[]", p) for p in paths}) > 1:
            return None
        head, _, tail = INDEX.sub("[]", paths[0]).partition("[]")
        places = [int(found[0]) for found in indices]
        if places == list(range(self._length(head))):
            return f"[each{tail} for each in old.{head}]" if tail else f"list(old.{head})"
        chosen = (
            f"range({places[0]}, {places[-1] + 1})"
            if places == list(range(places[0], places[-1] + 1))
            else str(tuple(places))
        )
        return f"[old.{head}[i]{tail} for i in {chosen}]"

    def _length(self, head: str) -> int:
        value = self._layer
        for name in head.split("."):
            if not hasattr(value, name):
                return -1
            value = getattr(value, name)
        return len(value)
