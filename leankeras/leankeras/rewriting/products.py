"""Products made simpler: without axes of size 1, broadcasts, transposes and reshapes."""

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

from leankeras.rewriting.building import Graph
from leankeras.rewriting.node import DATA, Node, is_known, size

GROWTH = 4  # how many times larger two weights may get by being multiplied beforehand


def simplify_product(g: Graph, inputs: list[Node], at: dict[str, Any]) -> Node | None:
    """A simpler form of a product, or None."""
    if g.settled:
        return None
    for rule in (_without_ones, _without_broadcast, _moved_axes, _weights_last):
        found = rule(g, inputs, at["equation"])
        if found is not None:
            return found
    return None


def lengths(equation: Sequence[str], inputs: Sequence[Node]) -> dict[str, int]:
    """The length of each axis of a product by its letter."""
    left, right, _ = equation
    return {
        **dict(zip(left, inputs[0].shape, strict=True)),
        **dict(zip(right, inputs[1].shape, strict=True)),
    }


def free_letter(*used: str) -> str:
    """A letter that is not used."""
    return next(each for each in ascii_letters if each not in "".join(used))


def _without_ones(g: Graph, inputs: list[Node], equation: tuple[str, str, str]) -> Node | None:
    length = lengths(equation, inputs)
    ones = {axis for axis in "".join(equation[:2]) if length[axis] == 1}
    if not ones:
        return None
    left, right, out = ("".join(a for a in part if a not in ones) for part in equation)
    a, b = (
        g.reshape(x, [length[axis] for axis in part])
        for x, part in zip(inputs, (left, right), strict=True)
    )
    made = g.product(a, b, left, right, out) if left and right else None
    if made is None:
        made = g.elementwise("Mul", a, b)
        own = left or right
        axes = [place for place, axis in enumerate(own) if axis not in out]
        made = g.reduce(made, "Sum", axes)
        rest = [axis for axis in own if axis in out]
        made = g.transpose(made, [rest.index(axis) for axis in out])
    return g.reshape(made, [length[axis] for axis in equation[2]])


def _without_broadcast(g: Graph, inputs: list[Node], equation: tuple[str, str, str]) -> Node | None:
    out, length = equation[2], lengths(equation, inputs)
    for place, each in enumerate(inputs):
        other = inputs[1 - place]
        if each.op != "broadcast" or (is_known(each) and other.depends < DATA):
            continue
        own, others = equation[place], equation[1 - place]
        inner = each.inputs[0]
        gone = {a for a, n in zip(own, inner.shape, strict=True) if n == 1 and a in others}
        if not gone:
            continue
        kept = "".join(axis for axis in own if axis not in gone)
        shape = [n for axis, n in zip(own, inner.shape, strict=True) if axis not in gone]
        x = g.broadcast(g.reshape(inner, shape), [length[axis] for axis in kept])
        if kept:
            pairs = [(x, kept), (other, others)]
            (a, left), (b, right) = pairs if place == 0 else pairs[::-1]
            return g.product(a, b, left, right, out)
        y = g.reduce(other, "Sum", [p for p, axis in enumerate(others) if axis not in out])
        rest = [axis for axis in others if axis in out]
        return g.elementwise("Mul", g.transpose(y, [rest.index(axis) for axis in out]), x)
    return None


def _moved_axes(g: Graph, inputs: list[Node], equation: tuple[str, str, str]) -> Node | None:
    for place, each in enumerate(inputs):
        parts, given = list(equation), list(inputs)
        if each.op == "transpose":
            axes = each.attributes["axes"]
            parts[place] = "".join(parts[place][axes.index(p)] for p in range(len(axes)))
            given[place] = each.inputs[0]
            return g.product(*given, *parts)
        if each.op != "reshape" or each.depends < DATA:
            continue
        # Rows that were merged are multiplied unmerged.
        groups = merged_axes(each.inputs[0].shape, each.shape)
        other, out = equation[1 - place], equation[2]
        if not groups or any(
            len(group) != 1 and (axis in other or axis not in out)
            for axis, group in zip(parts[place], groups, strict=True)
        ):
            continue
        letters = (a for a in ascii_letters if a not in "".join(equation))
        renamed = {
            axis: axis if len(group) == 1 else "".join(next(letters) for _ in group)
            for axis, group in zip(parts[place], groups, strict=True)
        }
        length = lengths(equation, inputs)
        parts[place], parts[2] = (
            "".join(renamed.get(axis, axis) for axis in part) for part in (parts[place], out)
        )
        given[place] = each.inputs[0]
        return g.reshape(g.product(*given, *parts), [length[axis] for axis in out])
    return None


def _weights_last(g: Graph, inputs: list[Node], equation: tuple[str, str, str]) -> Node | None:
    (a, b), (left, right, out) = inputs, equation
    if a.depends < DATA and b.depends == DATA:
        return g.product(b, a, right, left, out)
    return None


def weights_first(g: Graph, node: Node) -> Node | None:
    """``(x V) W`` as ``x (V W)``, where that is smaller; None if it is not."""
    (a, b), (left, right, out) = node.inputs, node.attributes["equation"]
    if b.depends == DATA or a.op != "product" or a.inputs[1].depends == DATA:
        return None
    letters = (axis for axis in ascii_letters if axis not in left + right + out)
    inner_left, inner_right, inner_out = a.attributes["equation"]
    renamed = dict(zip(inner_out, left, strict=True))
    for axis in inner_left + inner_right:
        renamed.setdefault(axis, next(letters) if axis not in renamed else "")
    x, v = ("".join(renamed[axis] for axis in part) for part in (inner_left, inner_right))
    kept = "".join(axis for axis in dict.fromkeys(v + right) if axis in x or axis in out)
    length = lengths((v, right, ""), (a.inputs[1], b))
    large = size(length[axis] for axis in kept)
    if set(v) & set(x) & set(out) or large > GROWTH * (size(a.inputs[1].shape) + size(b.shape)):
        return None
    both = g.product(a.inputs[1], b, v, right, kept)
    return g.product(a.inputs[0], both, x, kept, out)


def merged_axes(old: Sequence[int], new: Sequence[int]) -> list[list[int]] | None:
    """Of a reshape that only merges axes, the old axes in each new one; else None."""
    groups, place = [], 0
    for length in new:
        group, reached = [], 1
        while place < len(old) and (reached < length or not group):
            group.append(place)
            reached *= old[place]
            place += 1
        if reached != length or not group:
            return None
        groups.append(group)
    merges = any(sum(old[axis] > 1 for axis in group) > 1 for group in groups)
    return groups if place == len(old) and merges else None
