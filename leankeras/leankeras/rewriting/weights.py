"""Which weights a rewritten layer has, so that it trains what the old layer trained.

A new weight is a rearrangement of old ones: each of its numbers is one number of an old weight,
and no number of an old weight is in two places. Whatever else is computed of weights, such as a
softmax of them, is computed in the call. The converter computes it once and stores the result, so
this costs nothing on the device. Where two uses of a weight need it in two layouts, it stays as it
was and the call lays it out.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from leankeras.rewriting.building import computed
from leankeras.rewriting.node import DATA, WEIGHT, Node, in_order
from leankeras.rewriting.operations import MOVES


@dataclass(frozen=True)
class NewWeight:
    """A weight of the new layer.

    Args:
        node: what of the old weights it is.
        shape: its shape; that of the node, perhaps without axes of size 1 in front.
        trainable: whether it is trained.
    """

    node: Node
    shape: tuple[int, ...]
    trainable: bool


def choose_weights(
    outputs: Sequence[Node], variables: Sequence[keras.Variable], for_inference: bool = False
) -> dict[int, NewWeight]:
    """The weights that a program needs, by the number of the node that each of them gives.

    Args:
        outputs: of the program.
        variables: of the old layer.
        for_inference: store what the call needs, whatever is computed of weights; the new layer
            then trains other numbers than the old one did.
    """
    kept_apart: set[int] = set()
    while True:
        needed = _needed(outputs, kept_apart, for_inference)
        clashing = [] if for_inference else _clashing(needed, variables)
        if not clashing:
            break
        kept_apart.add(clashing[-1].number)  # what is made of the others first
    users: dict[int, list[Node]] = defaultdict(list)
    for node in in_order(outputs):
        for each in node.inputs:
            users[each.number].append(node)
    chosen = {}
    for node in needed:
        shape = node.shape
        broadcast = all(u.op == "elementwise" and u.depends == DATA for u in users[node.number])
        while broadcast and len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
        chosen[node.number] = NewWeight(node, shape, _is_trained(node, variables))
    return chosen


def is_rearrangement(nodes: Sequence[Node], variables: Sequence[keras.Variable]) -> bool:
    """Whether nodes can be new weights side by side, none of which shares a number with another."""
    return all(only_moves(node) for node in nodes) and not _clashing(list(nodes), variables)


def are_trained(nodes: Sequence[Node], variables: Sequence[keras.Variable]) -> bool:
    """Whether all of the old weights in some nodes are trained, as those of a stock layer are."""
    sources = [each for each in in_order(nodes) if each.op == "weight"]
    return all(variables[each.attributes["index"]].trainable for each in sources)


def _needed(outputs: Sequence[Node], kept_apart: set[int], for_inference: bool) -> list[Node]:
    needed: dict[int, Node] = {}
    waiting, seen = list(outputs), set()
    while waiting:
        node = waiting.pop()
        if node.number in seen:
            continue
        seen.add(node.number)
        if node.depends == WEIGHT and (
            for_inference
            or node.op == "weight"
            or (node.number not in kept_apart and only_moves(node))
        ):
            needed[node.number] = node
        else:
            waiting += node.inputs
    return sorted(needed.values(), key=lambda node: node.number)


def only_moves(node: Node) -> bool:
    """Whether a node is made of weights alone, by moving numbers about."""
    if node.op == "weight":
        return True
    if node.op not in MOVES:
        return False
    moved = node.inputs[:1] if node.op == "gather" else node.inputs
    return all(only_moves(each) for each in moved)


def _clashing(needed: Sequence[Node], variables: Sequence[keras.Variable]) -> list[Node]:
    """The nodes that cannot be weights as they are, in the order of making."""
    starts = first_places(variables)
    uses = np.zeros(starts[-1], int)
    places = {node.number: places_of(node, starts).ravel() for node in needed}
    for each in places.values():
        np.add.at(uses, each, 1)
    return [
        node
        for node in needed
        if node.op != "weight"
        and ((uses[places[node.number]] > 1).any() or _is_mixed(node, variables))
    ]


def _is_mixed(node: Node, variables: Sequence[keras.Variable]) -> bool:
    """Whether a part of a node is trained and another is not."""
    sources = [each for each in in_order([node]) if each.op == "weight"]
    return len({variables[each.attributes["index"]].trainable for each in sources}) > 1


def first_places(variables: Sequence[keras.Variable]) -> np.ndarray:
    """Where each variable starts, with all their numbers in a row."""
    return np.cumsum([0, *(int(np.prod(variable.shape)) for variable in variables)])


def places_of(node: Node, starts: np.ndarray) -> np.ndarray:
    """For each number of a rearrangement, which number of the old weights it is."""

    def places(weight: Node) -> np.ndarray:
        start = starts[weight.attributes["index"]]
        return start + np.arange(weight.value.size).reshape(weight.shape)

    return computed(node, places)


def _is_trained(node: Node, variables: Sequence[keras.Variable]) -> bool:
    sources = [each for each in in_order([node]) if each.op == "weight"]
    return any(variables[each.attributes["index"]].trainable for each in sources)
