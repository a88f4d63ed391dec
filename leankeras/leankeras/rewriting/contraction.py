"""Sums of products as products, and gathers moved to where they cost nothing."""

from string import ascii_letters

import numpy as np

from leankeras.rewriting.node import CONSTANT, DATA, Node, size
from leankeras.rewriting.passes import Rebuild
from leankeras.rewriting.products import free_letter, weights_first

LARGEST_TABLE = 4096  # numbers that a weight may get by being gathered, beside 4 for each input


def contract(rebuild: Rebuild) -> list[Node]:
    """``sum(a * b)`` and ``sum(product)`` as one product; ``(x V) W`` as ``x (V W)``."""

    def change(old: Node, new: Node) -> Node | None:
        if new.depends != DATA:
            return None
        if new.op == "product":
            return _folded(rebuild, new)
        if new.op != "reduce" or new.attributes["function"] != "Sum":
            return None
        inner = new.inputs[0]
        if inner.op == "elementwise" and inner.attributes["function"] == "Mul":
            made = _product_of_sum(rebuild, new, inner)
            return made and _folded(rebuild, made)
        if inner.op == "product":
            left, right, out = inner.attributes["equation"]
            gone = [out[axis] for axis in new.attributes["axes"]]
            if all(axis in left and axis in right for axis in gone):
                rest = "".join(axis for axis in out if axis not in gone)
                return _folded(rebuild, rebuild.graph.product(*inner.inputs, left, right, rest))
        return None

    return rebuild.run(change)


def _product_of_sum(rebuild: Rebuild, total: Node, inner: Node) -> Node | None:
    g, axes = rebuild.graph, total.attributes["axes"]
    letters = ascii_letters[: len(inner.shape)]
    given, sides = [], []
    for each in inner.inputs:
        if not each.shape:
            return None
        kept = [a for a in range(len(inner.shape)) if each.shape[a] == inner.shape[a]]
        given.append(g.reshape(each, [each.shape[axis] for axis in kept]))
        sides.append("".join(letters[axis] for axis in kept))
    left, right = (set(side) for side in sides)
    of_inputs = all(each.depends == DATA for each in inner.inputs)
    if of_inputs and (left == right or (not rebuild.layout.products
                                        and (left <= right or right <= left))):  # fmt: skip
        return None
    if not any(letters[axis] in left & right for axis in axes):
        return None
    out = "".join(letter for axis, letter in enumerate(letters) if axis not in axes)
    return g.product(*given, *sides, out)


def _folded(rebuild: Rebuild, node: Node) -> Node:
    if node.op != "product":
        return node
    moved = _gathered_weights(rebuild, node) or weights_first(rebuild.graph, node)
    return moved or node


def _gathered_weights(rebuild: Rebuild, node: Node) -> Node | None:
    """A gather of the input that meets weights, as the input and a gather of the weights.

    Such as all rotations of a sequence, each with a weight: the sequence and a circulant matrix.
    """
    (x, weight), g = node.inputs, rebuild.graph
    if weight.depends == DATA or x.op != "gather" or x.inputs[1].depends != CONSTANT:
        return None
    left, right, out = node.attributes["equation"]
    source, indices, axis = x.inputs[0], x.inputs[1].value, x.attributes["axis"]
    letters = left[axis : axis + indices.ndim]
    summed = [letter for letter in letters if letter in right and letter not in out]
    if indices.ndim != 2 or len(summed) != 1 or any(a in right for a in set(letters) - set(summed)):
        return None
    # For every place of the result, which position of the weight each place of the input meets.
    rows = indices.T if letters[0] == summed[0] else indices
    length = source.shape[axis]
    if any(sorted(row) != list(range(length)) for row in rows):
        return None
    table = np.argsort(rows, axis=1)
    large = size(weight.shape) * len(rows)
    if large > 4 * size(x.shape[1:]) + LARGEST_TABLE:
        return None
    (kept,) = set(letters) - set(summed)
    new = free_letter(left, right, out)
    place = right.index(summed[0])
    gathered = g.gather(weight, place, table)
    own = right[:place] + kept + new + right[place + 1 :]
    rest = left[:axis] + new + left[axis + indices.ndim :]
    return g.product(source, gathered, rest, own, out)
