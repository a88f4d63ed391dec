"""Operations that nobody collects and that can be done at once all the same.

Products of one tensor with several weights are one wide product, as the four gates of an LSTM. In
a recurrence, what each step computes of its own part of the input, and not of the state, is done
for all steps beforehand.
"""

from collections import defaultdict
from typing import Any

from leankeras.rewriting.node import DATA, LATE, Depths, Node, in_order, size
from leankeras.rewriting.passes import Rebuild

MOST_TERMS = 6


def merge_siblings(rebuild: Rebuild, outputs: list[Node]) -> list[Node]:
    """Products and convolutions of one tensor with weights of one shape, done at once."""
    groups: dict[Any, list[Node]] = defaultdict(list)
    for node in in_order(outputs):
        if node.op not in ("product", "convolution"):
            continue
        x, weight = node.inputs
        narrow = size(node.shape[1:]) <= rebuild.layout.widest
        if x.depends == DATA and weight.depends < DATA and narrow:
            groups[node.op, str(node.attributes), x.number, weight.shape].append(node)
    return rebuild.run(groups=[group for group in groups.values() if len(group) > 1])


def merge_steps(rebuild: Rebuild, outputs: list[Node]) -> list[Node]:
    """The same operation on the parts of a tensor, one after the other, done at once."""
    groups: dict[Any, list[tuple[tuple[int, ...], Node, list[int]]]] = defaultdict(list)
    for node in in_order(outputs):
        if node.depends < DATA or node.op in ("reshape", "slice", "kept", "broadcast"):
            continue
        seen = [_part(each) for each in node.inputs]
        if any(
            starts
            for each, (_, starts, _) in zip(node.inputs, seen, strict=True)
            if each.depends == DATA
        ):  # weights may then come from anywhere
            seen = [
                (("weight", each.shape), [], []) if each.depends < DATA and each.shape else part
                for each, part in zip(node.inputs, seen, strict=True)
            ]
        starts = tuple(start for _, starts, _ in seen for start in starts)
        if starts:
            key = (node.op, str(node.attributes), tuple(key for key, _, _ in seen))
            groups[key].append((starts, node, [n for _, _, lengths in seen for n in lengths]))
    runs = [run for group in groups.values() for run in _runs(group)]
    return rebuild.run(groups=runs) if runs else outputs


def _part(node: Node) -> tuple[Any, list[int], list[int]]:
    """What an input is a part of, where it starts and how long it is, axis by axis."""
    x = node.inputs[0] if node.op == "reshape" else node
    axes, starts, lengths = [], [], []
    while x.op == "slice":
        at = x.attributes
        axes.append((at["axis"], at["count"], at["step"]))
        starts.append(at["start"])
        lengths.append(at["count"])
        x = x.inputs[0]
    if axes:
        return ("part", x.number, tuple(axes), node.shape), starts, lengths
    return ("node", node.number), [], []


def _runs(group: list[tuple[tuple[int, ...], Node, list[int]]]) -> list[list[Node]]:
    """Operations on parts that follow one another without a gap."""
    first, _, lengths = group[0]
    moving = [p for p in range(len(first)) if len({starts[p] for starts, _, _ in group}) > 1]
    if len(group) < 2 or not moving:
        return []
    lead = moving[0]
    together = all(
        starts[p] - first[p] == starts[lead] - first[lead] for starts, _, _ in group for p in moving
    )
    if not together or any(lengths[p] != lengths[lead] for p in moving):
        return max((_runs_along(group, p) for p in moving), key=lambda runs: sum(map(len, runs)))
    found, run, before = [], [], None
    for start, node in sorted(((s[lead], n) for s, n, _ in group), key=lambda each: each[0]):
        if before is not None and start != before + lengths[lead]:
            found.append(run)
            run = []
        run.append(node)
        before = start
    found.append(run)
    several = node.op == "product" or len(moving) > 1
    return [run for run in found if len(run) > 2 or (len(run) == 2 and several)]


def _runs_along(group: list[tuple[tuple[int, ...], Node, list[int]]], p: int) -> list[list[Node]]:
    """Runs in which only the start at one position moves, as in one loop of two that are nested."""
    rows: dict[tuple[int, ...], list[tuple[tuple[int, ...], Node, list[int]]]] = defaultdict(list)
    for each in group:
        rows[each[0][:p] + each[0][p + 1 :]].append(each)
    return [run for row in rows.values() for run in _runs(row)]


def split_products(rebuild: Rebuild) -> list[Node]:
    """A weight's product with a step and the state side by side, as the sum of two products.

    The part that depends on no state can then leave the recurrence.
    """
    g, depth = rebuild.graph, Depths()

    def change(old: Node, new: Node) -> Node | None:
        if new.op != "product":
            return None
        (left, right, out), (x, weight) = new.attributes["equation"], new.inputs
        if x.op != "concatenate" or weight.depends == DATA:
            return None
        axis = x.attributes["axis"]
        letter = left[axis]
        is_late = {depth(part) >= LATE for part in x.inputs}
        if letter in out or letter not in right or len(is_late) < 2:
            return None
        start, total = 0, None
        for part in x.inputs:
            rows = g.slice(weight, right.index(letter), start, part.shape[axis])
            start += part.shape[axis]
            term = g.product(part, rows, left, right, out)
            total = term if total is None else g.elementwise("AddV2", total, term)
        return total

    return rebuild.run(change)


def reassociate(rebuild: Rebuild) -> list[Node]:
    """Add up first what is known first, so that it can leave the recurrence."""
    depth = Depths()

    def change(old: Node, new: Node) -> Node | None:
        adds = all(
            n.op == "elementwise" and n.attributes["function"] == "AddV2" for n in (old, new)
        )
        if not adds or new.depends != DATA or rebuild.is_inner(old, "AddV2"):
            return None
        terms = rebuild.terms(old, "AddV2")
        if not 3 <= len(terms) <= MOST_TERMS:
            return None
        terms.sort(key=lambda term: (depth(term), size(term.shape)))
        out = terms[0]
        for term in terms[1:]:
            out = rebuild.graph.elementwise("AddV2", out, term)
        return out

    return rebuild.run(change)
