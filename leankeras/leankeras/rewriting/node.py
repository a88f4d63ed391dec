"""A layer's computation as data: operations, their inputs and attributes, and a value of each."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FREE = ("reshape", "broadcast", "item")
CONSTANT, WEIGHT, DATA = range(3)  # what a value depends on at most
ELEMENTS_OF_ONE_OPERATION = 2e4  # writing so many costs about as much as calling an operation
LATE = 10**6  # how deep a state's first value counts, so that step 0 looks like those after it


@dataclass(eq=False, slots=True)
class Node:
    """One operation of the graph.

    Args:
        op: a name in :data:`.operations.OPERATIONS`, or "input", "weight", "constant".
        inputs: the nodes it takes.
        attributes: what else says what it does; whole numbers, strings and tuples of them.
        value: what it computes on a random input, with perturbed weights. Shapes are read off it,
            and every step of a rewrite is held against it.
        depends: CONSTANT, WEIGHT or DATA.
        number: in the order of making.
        origin: the TensorFlow operation that it came from first.
    """

    op: str
    inputs: tuple["Node", ...]
    attributes: dict[str, Any]
    value: np.ndarray
    depends: int
    number: int
    origin: Any = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its value."""
        return self.value.shape

    @property
    def dtype(self) -> str:
        """Of its value, such as "float32"."""
        return self.value.dtype.name

    def __repr__(self) -> str:
        inputs = ", ".join(f"%{each.number}" for each in self.inputs)
        return f"%{self.number} {self.op}{self.shape} {self.attributes} ({inputs})"


def size(shape: Iterable[int]) -> int:
    """The number of elements of a shape."""
    return math.prod(int(each) for each in shape)


def is_known(node: Node) -> bool:
    """Whether a value is the same for all inputs and weights, a broadcast constant included."""
    return node.depends == CONSTANT or (
        node.op == "broadcast" and node.inputs[0].depends == CONSTANT
    )


def in_order(outputs: Sequence[Node], key: Callable[[Node], Any] | None = None) -> list[Node]:
    """The nodes that outputs depend on, inputs before those that take them.

    Args:
        outputs: where to start.
        key: the order in which the inputs of a node are visited, where it is free.
    """
    seen: set[int] = set()
    order: list[Node] = []
    for output in outputs:
        stack = [(output, 0)]
        while stack:
            node, position = stack.pop()
            if position == 0 and node.number in seen:
                continue
            seen.add(node.number)
            inputs = sorted(node.inputs, key=key) if key else node.inputs
            if position < len(inputs):
                stack.append((node, position + 1))
                if inputs[position].number not in seen:
                    stack.append((inputs[position], 0))
            else:
                order.append(node)
    return order


def digest(outputs: Sequence[Node]) -> str:
    """A digest of a graph: what it computes, whatever the values of its weights."""
    found, places = hashlib.sha256(), {}
    for place, node in enumerate(in_order(outputs)):
        places[node.number] = place
        inputs = [places[each.number] for each in node.inputs]
        attributes = sorted(node.attributes.items())
        found.update(f"{node.op} {node.dtype} {node.shape} {attributes} {inputs}\n".encode())
        if node.op == "constant":
            found.update(node.value.tobytes())
    found.update(str([places[node.number] for node in outputs]).encode())
    return found.hexdigest()


class Depths:
    """How many operations lie between the inputs and a node.

    What depends on weights alone has none. A constant that fills a batch, which the first value of
    a state is, counts as deep as the states after it.
    """

    def __init__(self) -> None:
        self._found: dict[int, int] = {}

    def __call__(self, node: Node) -> int:
        """The depth of a node."""
        found, waiting = self._found, [node]
        while waiting:
            each = waiting[-1]
            deeper = [i for i in each.inputs if i.depends == DATA and i.number not in found]
            if deeper and each.depends == DATA and not is_known(each):
                waiting += deeper
                continue
            waiting.pop()
            if each.depends < DATA:
                found[each.number] = 0
            elif is_known(each):
                found[each.number] = LATE
            else:
                found[each.number] = 1 + max(
                    (found.get(i.number, 0) for i in each.inputs), default=0
                )
        return found[node.number]


def taken_part(node: Node) -> tuple[Node, int, np.ndarray] | None:
    """``(source, axis, indices)`` of a slice or a gather; None for anything else."""
    if node.op == "slice":
        given = node.attributes
        indices = given["start"] + given["step"] * np.arange(given["count"])
        return node.inputs[0], given["axis"], indices
    if node.op == "gather":
        indices = node.inputs[1]
        if indices.depends == CONSTANT and indices.value.ndim == 1:
            return node.inputs[0], node.attributes["axis"], indices.value
    return None


def takes_of(nodes: Sequence[Node]) -> Iterator[tuple[Node, int, list[np.ndarray]]]:
    """The tensors of which each of some nodes is a part, or the whole.

    Yields:
        The tensor, an axis of it, and for each node the indices that it takes along that axis.
    """
    parts = [taken_part(node) for node in nodes]
    for source, axis in dict.fromkeys(part[:2] for part in parts if part):
        taken = [
            part[2]
            if part and part[:2] == (source, axis)
            else np.arange(source.shape[axis])
            if node is source
            else None
            for part, node in zip(parts, nodes, strict=True)
        ]
        if all(indices is not None for indices in taken):
            yield source, axis, taken


def cost(outputs: Sequence[Node], batch: int) -> float:
    """About how many operations' worth of time outputs take for one sample.

    What depends on weights alone is computed once, a reshape moves nothing, and an item is one of
    the results of a split.
    """
    total = 0.0
    for node in in_order(outputs):
        if node.depends == DATA and node.inputs and node.op not in FREE:
            total += 1 + size(node.shape) / batch / ELEMENTS_OF_ONE_OPERATION
    return total


def count_operations(outputs: Sequence[Node]) -> int:
    """The operations that depend on the input; one of the results of a split is none."""
    return sum(
        node.depends == DATA and node.op not in ("input", "item") for node in in_order(outputs)
    )
