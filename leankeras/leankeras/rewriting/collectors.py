"""Where the turns of a loop come together: a stack, a concatenation, a sum, a maximum."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from leankeras.rewriting.functions import CHAINS
from leankeras.rewriting.merge_rules import NotAlike
from leankeras.rewriting.node import DATA, Node
from leankeras.rewriting.passes import Failure, Rebuild, is_recurrence

MOST_RUNS = 3  # of parts of equal shape in a concatenation
FEWEST_TERMS = 3

Finish = Callable[[Node, int], Node]


def merge_collectors(rebuild: Rebuild) -> list[Node]:
    """Merge what each collector collects; innermost loops first, since inputs come first."""

    def change(old: Node, new: Node) -> Node | None:
        if new.depends != DATA:
            return None
        if new.op == "concatenate" and len(new.inputs) > 1:
            return _merge_concatenation(rebuild, new)
        function = new.attributes.get("function")
        if new.op == "elementwise" and function in CHAINS and new.dtype != "bool":
            return None if rebuild.is_inner(old, function) else _merge_chain(rebuild, old, new)
        return None

    return rebuild.run(change)


def _merge_concatenation(rebuild: Rebuild, node: Node) -> Node | None:
    g, axis = rebuild.graph, node.attributes["axis"]
    runs = [[node.inputs[0]]]
    for each in node.inputs[1:]:
        if each.shape == runs[-1][0].shape:
            runs[-1].append(each)
        else:
            runs.append([each])
    if len(runs) > MOST_RUNS:
        return None

    def join(x: Node, place: int) -> Node:
        x = g.move(x, place, axis)
        joined = x.shape[axis] * x.shape[axis + 1]
        return g.reshape(x, (*x.shape[:axis], joined, *x.shape[axis + 2 :]))

    merged = []
    for run in runs:
        part = g.concatenate(run, axis)
        if len(run) > 1 and part.depends == DATA and part.op == "concatenate":
            merged += _merged_run(rebuild, run, axis, join)
        else:
            merged.append(part)
    return g.concatenate(merged, axis)


def _merged_run(rebuild: Rebuild, run: list[Node], axis: int, join: Finish) -> list[Node]:
    """Parts of a concatenation, merged; without the first or the last if that differs."""
    g, count = rebuild.graph, len(run)
    copies = not is_recurrence(run)
    for low, high in _equal_turns(count):
        part = g.concatenate(run[low:high], axis)
        found = None
        if part.op == "concatenate":
            found = _merged(rebuild, run[low:high], axis, part, join, copies=copies)
        if found is not None:
            return [*run[:low], found, *run[high:]]
    return [g.concatenate(run, axis)]


def _merge_chain(rebuild: Rebuild, old: Node, new: Node) -> Node | None:
    g, function = rebuild.graph, new.attributes["function"]
    terms = rebuild.terms(old, function)
    if len(terms) < FEWEST_TERMS:
        return None

    def total(x: Node, place: int) -> Node:
        return g.reduce(x, CHAINS[function], (place,))

    if len({term.shape for term in terms}) == 1 and all(t.depends == DATA for t in terms):
        found = _merged(rebuild, terms, 0, new, total, copies=False)
        if found is not None:
            return found
    done, rest = [], []
    for group in _alike(terms):
        fits = group[0].depends == DATA and group[0].shape == new.shape
        turns = list(_equal_turns(len(group))) if fits and len(group) >= FEWEST_TERMS else []
        copies = bool(turns) and not is_recurrence(group)
        for low, high in turns:
            chain = group[low]
            for term in group[low + 1 : high]:
                chain = g.elementwise(function, chain, term)
            found = _merged(rebuild, group[low:high], 0, chain, total, copies=copies)
            if found is not None:
                done.append(found)
                group = group[:low] + group[high:]
                break
        rest += group
    if not done:
        return None
    out = done[0]
    for term in done[1:] + rest:
        out = g.elementwise(function, out, term)
    return out


def _alike(terms: Sequence[Node]) -> list[list[Node]]:
    """Terms by what they do; in a nest of loops, by the row of which they are parts."""
    alike: dict[tuple, list[Node]] = defaultdict(list)
    for term in terms:
        below = term.inputs[0].op if term.op in ("reshape", "elementwise") else ""
        row = _row(term)
        key = (term.shape, term.op, below, row) if term.depends == DATA else (term.shape,)
        alike[key].append(term)
    return list(alike.values())


def _row(term: Node) -> int | None:
    """The number of the slice of which the data in a term are a slice."""
    node = term
    while node.op in ("reshape", "elementwise") and node.depends == DATA:
        node = next(each for each in node.inputs if each.depends == DATA)
    inner = node.inputs[0] if node.op == "slice" else node
    return inner.number if inner.op == "slice" else None


def _equal_turns(count: int) -> Iterator[tuple[int, int]]:
    """Which turns may be equal: all, or all but the first or the last or both."""
    for low, high in ((0, count), (1, count), (0, count - 1), (1, count - 1)):
        if high - low >= min(count, FEWEST_TERMS):
            yield low, high


def _merged(
    rebuild: Rebuild, nodes: Sequence[Node], axis: int, old: Node, finish: Finish, copies: bool
) -> Node | None:
    """What is collected, merged if that is possible and saves something."""
    for copying in (False, True) if copies else (False,):
        try:
            whole, place = rebuild.alignment(copying)(nodes, axis)
        except NotAlike as difference:
            rebuild.journal.failed.append(Failure(nodes, old, difference))
            continue
        if place is None:
            whole, place = rebuild.graph.repeat(whole, 0, len(nodes)), 0
        out = finish(whole, place)
        if rebuild.is_cheaper(old, out):
            rebuild.journal.merged.append((len(nodes), nodes[0], whole))
            return out
    return None
