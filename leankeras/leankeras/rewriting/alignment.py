"""What n turns of a loop compute, as one node with an axis for the loop.

Turns are laid side by side from their results up (anti-unification: Plotkin, "A note on inductive
generalization", 1970). What is the same in all turns is shared. What are parts of one tensor is
that tensor with an axis more. Constants and weights are stacked. Anything else has to be the same
operation in each turn, and a rule for it says how n of them are one.
"""

from collections.abc import Sequence

import numpy as np

from leankeras.rewriting.building import Graph
from leankeras.rewriting.merge_rules import MERGE, Aligned, NotAlike
from leankeras.rewriting.node import CONSTANT, DATA, Node, takes_of

MOST_COPIED = 8  # groups of different tensors that are copied side by side, for one collector


class Alignment:
    """Lays nodes side by side.

    Args:
        graph: makes nodes.
        last: whether the axis of the loop goes last where it may go anywhere, not first.
        front: whether the axis of stacked weights leads in a product that has a batch of its own.
        copies: whether tensors that have nothing in common may be copied side by side.
    """

    def __init__(
        self, graph: Graph, last: bool = False, front: bool = False, copies: bool = False
    ) -> None:
        self.graph = graph
        self.last = last
        self.front = front
        self._copies_left = MOST_COPIED if copies else 0
        self._found: dict[tuple, Aligned | NotAlike] = {}

    def __call__(self, nodes: Sequence[Node], axis: int | None = None) -> Aligned:
        """One node for all of them, and the place of its loop axis; None where all are the same.

        Args:
            nodes: what each turn computes.
            axis: where the axis of the loop should go, if there is a choice.

        Raises:
            NotAlike: the turns differ, and in what.
        """
        key = (tuple(node.number for node in nodes), axis)
        if key not in self._found:
            try:
                self._found[key] = self._align(list(nodes), axis)
            except NotAlike as difference:
                self._found[key] = difference
        found = self._found[key]
        if isinstance(found, NotAlike):
            raise found
        return found

    def place(self, axis: int | None, rank: int) -> int:
        """Where the axis of the loop goes in a node of so many other axes."""
        return min(axis if axis is not None else rank if self.last else 0, rank)

    def with_axis(self, aligned: Aligned, axis: int, count: int) -> Node:
        """The node with its loop axis in a place, put in where it has none."""
        node, own = aligned
        if own is None:
            return self.graph.repeat(node, axis, count)
        return self.graph.move(node, own, axis)

    def _align(self, nodes: list[Node], axis: int | None) -> Aligned:
        first = nodes[0]
        if all(node is first for node in nodes):
            return first, None
        if any((node.shape, node.dtype) != (first.shape, first.dtype) for node in nodes):
            shapes = " and ".join(str(shape) for shape in sorted({n.shape for n in nodes})[:3])
            raise NotAlike(f"the shapes differ ({shapes})", first)
        place = self.place(axis, len(first.shape))
        if all(node.depends == CONSTANT for node in nodes):
            return self.graph.constant(np.stack([node.value for node in nodes], place)), place
        parts = next(takes_of(nodes), None)
        if parts:
            source, source_axis, indices = parts
            return self._parts(source, source_axis, np.array(indices))
        try:
            return self._merge(nodes, axis)
        except NotAlike:
            if all(node.depends < DATA for node in nodes):
                return self.graph.stack(nodes, place), place
            if not self._copies_left:
                raise
            self._copies_left -= 1
            return self.graph.stack(nodes, place), place

    def _parts(self, x: Node, axis: int, indices: np.ndarray) -> Aligned:
        """Parts of one tensor, as that tensor with an axis for the loop in front of ``axis``."""
        g, (count, length) = self.graph, indices.shape
        steps = np.diff(indices[:, 0])
        step, start = int(steps[0]), int(indices[0, 0])
        even = (np.diff(indices, axis=1) == 1).all() and (steps == step).all()

        def split(y: Node, inner: int) -> Node:
            return g.reshape(y, (*y.shape[:axis], count, inner, *y.shape[axis + 1 :]))

        if even and step == length:
            return split(g.slice(x, axis, start, count * length), length), axis
        if even and step > length:
            base = start - start % step
            inside = start % step + length <= step and base + count * step <= x.shape[axis]
            if inside:
                whole = split(g.slice(x, axis, base, count * step), step)
                return g.slice(whole, axis + 1, start % step, length), axis
        return g.gather(x, axis, indices), axis

    def _merge(self, nodes: list[Node], axis: int | None) -> Aligned:
        first = nodes[0]
        if any((n.op, len(n.inputs)) != (first.op, len(first.inputs)) for n in nodes):
            names = sorted({n.attributes.get("function", n.op) for n in nodes})
            raise NotAlike(f"the turns do different things ({', '.join(names[:4])})", first)
        if not first.inputs:
            raise NotAlike(f"each turn has its own {first.op}", first)
        if any(node.attributes != first.attributes for node in nodes):
            raise NotAlike(f"the turns differ in how they do it ({first.op})", first)
        if first.op not in MERGE:
            raise NotAlike(f"there is no rule to merge {first.op}", first)
        wanted = None if first.op in ("product", "convolution", "depthwise", "transpose") else axis
        inputs = [
            self([node.inputs[place] for node in nodes], wanted)
            for place in range(len(first.inputs))
        ]
        return MERGE[first.op](self, first, inputs, len(nodes), wanted)
