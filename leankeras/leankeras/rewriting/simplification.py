"""Rules that make an operation simpler while it is being made, one table row for each operation.

A rule gets the graph, the inputs and the attributes. It returns a node that computes the same, or
None; it may put the inputs and the attributes in a normal form, by changing them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from leankeras.rewriting.building import Graph
from leankeras.rewriting.node import CONSTANT, Node, is_known, size, taken_part, takes_of
from leankeras.rewriting.products import simplify_product

Rule = Callable[[Graph, list[Node], dict[str, Any]], Node | None]


def simplified(g: Graph, op: str, inputs: list[Node], attributes: dict[str, Any]) -> Node | None:
    """A simpler node than the operation, or None."""
    for rule in RULES.get(op, ()):
        found = rule(g, inputs, attributes)
        if found is not None:
            return found
    return None


def reshape(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    (x,) = inputs
    if at["shape"] == x.shape:
        return x
    return g.reshape(x.inputs[0], at["shape"]) if x.op == "reshape" else None


def transpose(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    (x,), axes = inputs, at["axes"]
    if axes == tuple(range(len(axes))):
        return x
    if x.op == "transpose":
        return g.transpose(x.inputs[0], [x.attributes["axes"][axis] for axis in axes])
    if [a for a in axes if x.shape[a] > 1] == [a for a in range(len(axes)) if x.shape[a] > 1]:
        return g.reshape(x, [x.shape[axis] for axis in axes])
    kept = [axis for axis, length in enumerate(x.shape) if length != 1]
    if x.op == "reshape" and len(kept) < len(axes):  # axes of size 1 are left to the reshape
        slim = g.reshape(x, [x.shape[axis] for axis in kept])
        turned = g.transpose(slim, [kept.index(axis) for axis in axes if axis in kept])
        return g.reshape(turned, [x.shape[axis] for axis in axes])
    if x.op == "softmax" and x.inputs[0].op == "transpose":
        inner = x.inputs[0].attributes["axes"]
        if [inner[axis] for axis in axes] == list(range(len(axes))):
            return g.make("softmax", x.inputs[0].inputs[0], axis=inner[x.attributes["axis"]])
    return None


def broadcast(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    return inputs[0] if at["shape"] == inputs[0].shape else None


def slice_of_all(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    if at["count"] == 1:
        at["step"] = 1
    return inputs[0] if (at["start"], at["count"]) == (0, inputs[0].shape[at["axis"]]) else None


def slice_of_slice(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    (x,) = inputs
    if x.op != "slice":
        return None
    inner = x.attributes
    if inner["axis"] == at["axis"]:
        start = inner["start"] + at["start"] * inner["step"]
        return g.slice(x.inputs[0], at["axis"], start, at["count"], at["step"] * inner["step"])
    if inner["axis"] > at["axis"]:
        return g.make("slice", g.make("slice", x.inputs[0], **at), **inner)
    return None


def slice_of_gather(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    (x,) = inputs
    if x.op == "gather" and x.attributes["axis"] == at["axis"] and x.inputs[1].value.ndim == 1:
        return g.take(x.inputs[0], at["axis"], x.inputs[1].value[_positions(at)])
    return None


def slice_of_concatenation(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    (x,), axis, start = inputs, at["axis"], at["start"]
    if x.op != "concatenate" or x.attributes["axis"] != axis or at["step"] != 1:
        return None
    offset, parts = 0, []
    for part in x.inputs:
        low, high = max(start, offset), min(start + at["count"], offset + part.shape[axis])
        if low < high:
            parts.append((part, low - offset, high - low))
        offset += part.shape[axis]
    if len(parts) == 1 or all(count == part.shape[axis] for part, _, count in parts):
        return g.concatenate([g.slice(part, axis, low, n) for part, low, n in parts], axis)
    return None


def slice_of_broadcast(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    (x,), axis = inputs, at["axis"]
    if x.op == "broadcast" and x.inputs[0].shape[axis] == 1:
        shape = (*x.shape[:axis], at["count"], *x.shape[axis + 1 :])
        return g.broadcast(x.inputs[0], shape)
    return None


def slice_of_reshape(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    """Slice first, so that what parts are taken from shows."""
    (x,), axis, start, count = inputs, at["axis"], at["start"], at["count"]
    if x.op != "reshape":
        return None
    y, before, length = x.inputs[0], size(x.shape[:axis]), x.shape[axis]
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    for place, own in enumerate(y.shape):
        if size(y.shape[:place]) != before:
            continue
        if own == length:
            return g.reshape(g.slice(y, place, start, count, at["step"]), shape)
        if at["step"] != 1:
            continue
        if g.settled and axis + 1 < len(x.shape) and own == length * x.shape[axis + 1] > own // 2:
            inner = x.shape[axis + 1]
            if length > 1:
                return g.reshape(g.slice(y, place, start * inner, count * inner), shape)
        inner = y.shape[place + 1] if place + 1 < len(y.shape) else 0
        whole = inner > 1 and own > 1 and own * inner == length
        if whole and start % inner == count % inner == 0:
            return g.reshape(g.slice(y, place, start // inner, count // inner), shape)
    return None


def slice_of_transpose(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    (x,) = inputs
    if x.op != "transpose":
        return None
    axes = x.attributes["axes"]
    return g.transpose(
        g.slice(x.inputs[0], axes[at["axis"]], at["start"], at["count"], at["step"]), axes
    )


def gather(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    x, axis = inputs[0], at["axis"]
    if inputs[1].depends != CONSTANT or inputs[1].value.ndim != 1:
        return None
    indices = inputs[1].value
    part = taken_part(x)
    if part and part[1] == axis:
        return g.take(part[0], axis, part[2][indices])
    steps = np.diff(indices)
    if len(indices) == 1 or (steps[0] > 0 and (steps == steps[0]).all()):
        return g.take(x, axis, indices)
    return None


def concatenation(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    axis = at["axis"]
    if len(inputs) > 1:
        inputs[:] = [each for each in inputs if each.shape[axis]] or inputs[:1]
    if len(inputs) == 1:
        return inputs[0]
    for source, place, taken in takes_of(inputs):
        if place == axis:
            return g.take(source, axis, np.concatenate(taken))
    return None


def elementwise(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    rank = max(len(each.shape) for each in inputs)
    for place, each in enumerate(inputs):
        if len(each.shape) not in (0, rank):
            inputs[place] = g.reshape(each, (1,) * (rank - len(each.shape)) + each.shape)
    full = np.broadcast_shapes(*[each.shape for each in inputs])
    for place, each in enumerate(inputs):
        rest = [other.shape for other_place, other in enumerate(inputs) if other_place != place]
        if is_known(each) and (each.op == "broadcast" or size(each.shape) == 1):
            if rest and np.broadcast_shapes(*rest) == full:
                inputs[place] = g.constant(each.value.flat[0])
        elif (
            each.op == "broadcast"
            and rest
            and np.broadcast_shapes(each.inputs[0].shape, *rest) == full
        ):
            inputs[place] = each.inputs[0]
    if 1 in full and any(each.op == "reshape" for each in inputs):
        kept = [axis for axis, length in enumerate(full) if length != 1]
        slim = [
            g.reshape(each, [each.shape[axis] for axis in kept]) if each.shape else each
            for each in inputs
        ]
        return g.reshape(g.make("elementwise", *slim, **at), full)
    return _neutral(g, inputs, at["function"], full)


def _neutral(g: Graph, inputs: list[Node], function: str, full: tuple[int, ...]) -> Node | None:
    """What is left of adding 0, or of multiplying by 1.

    A factor of 1 may be the first of several, one in each turn, and stays until all is merged.
    """
    if len(inputs) != 2:
        return None
    for place, each in enumerate(inputs):
        other = inputs[1 - place]
        if each.depends != CONSTANT or each.shape != () or other.shape != full:
            continue
        value = each.value
        if value == 0 and (function == "AddV2" or (function == "Sub" and place)):
            return other
        by_one = function == "Mul" or (function == "RealDiv" and place)
        if g.settled and value == 1 and by_one:
            return other
    return None


def softmax(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    """Of a reshape that leaves the last axis alone: reshape afterwards."""
    (x,) = inputs
    last = len(x.shape) - 1
    if x.op != "reshape" or at["axis"] != last or not x.inputs[0].shape:
        return None
    inner = x.inputs[0]
    if inner.shape[-1] != x.shape[-1]:
        return None
    return g.reshape(g.make("softmax", inner, axis=len(inner.shape) - 1), x.shape)


def reduction(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    (x,) = inputs
    if not at["axes"]:
        return x
    if x.op == "reduce" and x.attributes["function"] == at["function"]:
        inner = x.attributes["axes"]
        left = [axis for axis in range(len(x.inputs[0].shape)) if axis not in inner]
        return g.reduce(x.inputs[0], at["function"], (*inner, *(left[a] for a in at["axes"])))
    return None


def _positions(at: dict[str, Any]) -> slice:
    return slice(at["start"], at["start"] + at["count"] * at["step"], at["step"])


RULES: dict[str, tuple[Rule, ...]] = {
    "reshape": (reshape,),
    "transpose": (transpose,),
    "broadcast": (broadcast,),
    "slice": (
        slice_of_all,
        slice_of_slice,
        slice_of_gather,
        slice_of_concatenation,
        slice_of_broadcast,
        slice_of_reshape,
        slice_of_transpose,
    ),
    "gather": (gather,),
    "concatenate": (concatenation,),
    "elementwise": (elementwise,),
    "softmax": (softmax,),
    "reduce": (reduction,),
    "product": (simplify_product,),
}

__all__ = ["RULES", "simplified"]
