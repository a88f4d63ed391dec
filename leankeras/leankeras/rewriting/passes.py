"""A pass over the graph: every node is made anew, some of them changed, and all are checked."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from leankeras.errors import RewriteError
from leankeras.rewriting.alignment import Alignment
from leankeras.rewriting.building import Graph
from leankeras.rewriting.merge_rules import NotAlike
from leankeras.rewriting.node import Node, cost, in_order

TOLERANCE = 1e-3  # of a changed node's value; the rewrite as a whole is held to far less

Change = Callable[[Node, Node], Node | None]


@dataclass(frozen=True)
class Layout:
    """Choices that compute the same and take different time; which is fastest is measured.

    Args:
        last: the axis of the loop goes last where it may go anywhere, not first.
        front: stacked weights lead in a product with a batch of its own.
        widest: products of one tensor with several weights become one product, where each gives
            no more numbers for a sample than this.
        products: sums of products of two inputs become matrix products.
    """

    last: bool = False
    front: bool = False
    widest: int = 4096
    products: bool = True


@dataclass(frozen=True)
class Failure:
    """Turns of a loop that could not be merged.

    Args:
        turns: what each of them computes.
        node: what collects them.
        difference: why not.
    """

    turns: Sequence[Node]
    node: Node
    difference: NotAlike

    def explained(self) -> NotAlike:
        """Why not; a recurrence is looked for here, which takes time in a long loop."""
        if is_recurrence(self.turns):
            return NotAlike("each turn needs what the one before computed", self.node)
        return self.difference


@dataclass
class Journal:
    """What was merged, and what was not and why."""

    merged: list[tuple[int, Node, Node]] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def failures(self) -> list[Failure]:
        """What could not be merged, most turns first."""
        return sorted(self.failed, key=lambda failure: -len(failure.turns))


def is_recurrence(turns: Sequence[Node]) -> bool:
    """Whether one of the turns is computed from another; copying them would repeat the work."""
    bare = {
        each.number: each
        for each in (node.inputs[0] if node.op == "reshape" else node for node in turns)
    }
    first = min(bare)  # nodes are numbered as they are made, inputs first
    seen: set[int] = set()
    waiting = [i for node in bare.values() for i in node.inputs if i.number >= first]
    while waiting:
        node = waiting.pop()
        if node.number in bare:
            return True
        if node.number not in seen:
            seen.add(node.number)
            waiting += [i for i in node.inputs if i.number >= first]
    return False


class Rebuild:
    """One pass.

    Args:
        graph: makes nodes.
        layout: choices.
        journal: takes notes.
        outputs: of the graph.

    Attributes:
        users: of the old graph, the nodes that take a node, by its number.
        new: what has become of a node, by its number.
    """

    def __init__(
        self, graph: Graph, layout: Layout, journal: Journal, outputs: Sequence[Node]
    ) -> None:
        self.graph = graph
        self.layout = layout
        self.journal = journal
        self._outputs = list(outputs)
        self.users: dict[int, list[Node]] = defaultdict(list)
        self.new: dict[int, Node] = {}
        for node in in_order(outputs):
            for each in node.inputs:
                self.users[each.number].append(node)

    def run(
        self, change: Change = lambda old, new: None, groups: Sequence[Sequence[Node]] = ()
    ) -> list[Node]:
        """The outputs of the new graph.

        Args:
            change: gets an old node and the same made of new inputs; gives what is to take its
                place, or None to leave it.
            groups: equal operations that are to be done at once.

        Raises:
            RewriteError: a node does not compute what it did; a rule is wrong.
        """
        self._change = change
        self._group_of = {node.number: group for group in groups for node in group}
        for node in in_order(self._outputs):
            new = self._made(node)
            if new is not node and not _alike(node.value, new.value):
                raise RewriteError(
                    f"a rule of rewrite's is wrong: {node.op} does not compute the same as "
                    f"{new.op} after it; please report the layer"
                )
        return [self.new[each.number] for each in self._outputs]

    def _fresh(self, node: Node) -> Node:
        inputs = [self._made(each) for each in node.inputs]
        if all(old is new for old, new in zip(node.inputs, inputs, strict=True)):
            return node
        self.graph.origin = node.origin
        return self.graph.make(node.op, *inputs, **node.attributes)

    def _made(self, node: Node) -> Node:
        if node.number not in self.new and node.number in self._group_of:
            self._make_group(self._group_of[node.number])
        if node.number not in self.new:
            fresh = self._fresh(node)
            self.new[node.number] = self._change(node, fresh) or fresh
        return self.new[node.number]

    def _make_group(self, group: Sequence[Node]) -> None:
        fresh = [self._fresh(node) for node in group]
        try:
            whole, axis = self.alignment()(fresh)
            if axis is None or whole.op == "gather":
                raise NotAlike("nothing is gained", group[0])
            parts = [
                self.graph.drop(self.graph.slice(whole, axis, place, 1), axis)
                for place in range(len(group))
            ]
            self.journal.merged.append((len(group), group[0], whole))
        except NotAlike as difference:
            self.journal.failed.append(Failure(group, group[0], difference))
            parts = fresh
        self.new.update((old.number, new) for old, new in zip(group, parts, strict=True))

    def alignment(self, copies: bool = False) -> Alignment:
        """Lays nodes side by side, in this layout."""
        return Alignment(self.graph, self.layout.last, self.layout.front, copies)

    def is_cheaper(self, old: Node, new: Node) -> bool:
        """Whether a merged node saves at least half an operation."""
        return cost([new], self.graph.batch) < cost([old], self.graph.batch) - 0.5

    def is_inner(self, node: Node, function: str) -> bool:
        """Whether a node is a part of a longer sum (or product, ...) and of nothing else."""
        users = self.users[node.number]
        return len(users) == 1 and users[0].attributes.get("function") == function

    def terms(self, node: Node, function: str, top: bool = True) -> list[Node]:
        """What a chain of sums adds up, of the new graph."""
        chain = node.op == "elementwise" and node.attributes["function"] == function
        if chain and (top or self.is_inner(node, function)):
            return [term for each in node.inputs for term in self.terms(each, function, top=False)]
        return [self.new[node.number]]


def _alike(old: np.ndarray, new: np.ndarray) -> bool:
    if old.shape != new.shape:
        return False
    if old.dtype.kind != "f":
        return True
    usual = np.abs(old[np.isfinite(old)]).max(initial=0)
    return np.allclose(old, new, rtol=TOLERANCE, atol=TOLERANCE * (1 + usual), equal_nan=True)
