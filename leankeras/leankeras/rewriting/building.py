"""Makes nodes: equal ones once, each simplified where a rule fits, and each with its value."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from leankeras.rewriting.functions import SAME_FUNCTION
from leankeras.rewriting.node import CONSTANT, DATA, Node, in_order, is_known
from leankeras.rewriting.operations import OPERATIONS


class Graph:
    """The nodes of one layer, traced at one batch size.

    Args:
        batch: the size of the batch.

    Attributes:
        origin: the TensorFlow operation that nodes made now come from.
        settled: whether products keep the form that they have been given.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.origin: Any = None
        self.settled = False
        self._made: dict[Any, Node] = {}
        self._count = 0

    def leaf(self, op: str, value: np.ndarray, depends: int, **attributes: Any) -> Node:
        """An input or a weight."""
        return self._new(op, (), attributes, value, depends)

    def constant(self, value: Any) -> Node:
        """A constant; of many equal numbers, one number that is broadcast."""
        array = np.asarray(value)
        if array.size > 1 and (array == array.flat[0]).all():
            one = self.constant(array.flat[:1].reshape([1] * array.ndim))
            return self.make("broadcast", one, shape=array.shape)
        key = ("constant", str(array.dtype), array.shape, array.tobytes())
        if key not in self._made:
            self._made[key] = self._new("constant", (), {}, array, CONSTANT)
        return self._made[key]

    def make(self, op: str, *inputs: Node, **attributes: Any) -> Node:
        """The node of an operation, or a simpler one that computes the same."""
        # Imported here, since the rules make nodes themselves.
        from leankeras.rewriting.simplification import simplified

        inputs = list(inputs)
        simpler = simplified(self, op, inputs, attributes)
        if simpler is not None:
            return simpler
        key = (op, tuple(each.number for each in inputs), tuple(sorted(attributes.items())))
        if key not in self._made:
            value = evaluate(op, attributes, [each.value for each in inputs])
            if op != "broadcast" and all(is_known(each) for each in inputs):
                self._made[key] = self.constant(value)
            else:
                depends = max(each.depends for each in inputs)
                if op == "broadcast" and value.shape[:1] == (self.batch,):
                    depends = DATA
                self._made[key] = self._new(op, tuple(inputs), attributes, value, depends)
        return self._made[key]

    def _new(
        self, op: str, inputs: tuple[Node, ...], attributes: dict, value: np.ndarray, depends: int
    ) -> Node:
        self._count += 1
        return Node(op, inputs, attributes, value, depends, self._count, self.origin)

    def elementwise(self, function: str, *inputs: Node) -> Node:
        """Such as ``elementwise("AddV2", a, b)``; shapes are broadcast."""
        return self.make("elementwise", *inputs, function=SAME_FUNCTION.get(function, function))

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        """The same numbers in another shape."""
        return self.make("reshape", x, shape=tuple(int(each) for each in shape))

    def transpose(self, x: Node, axes: Sequence[int]) -> Node:
        """The axes in another order."""
        return self.make("transpose", x, axes=tuple(int(each) for each in axes))

    def slice(self, x: Node, axis: int, start: int, count: int, step: int = 1) -> Node:
        """Some positions of an axis, evenly spaced."""
        return self.make(
            "slice", x, axis=int(axis), start=int(start), count=int(count), step=int(step)
        )

    def gather(self, x: Node, axis: int, indices: Any) -> Node:
        """Positions of an axis in any order; a table of them makes axes."""
        return self.make("gather", x, self.constant(np.asarray(indices, "int32")), axis=axis)

    def take(self, x: Node, axis: int, indices: Sequence[int]) -> Node:
        """Some positions of an axis: as a slice if they are evenly spaced, else as a gather."""
        indices = np.asarray(indices)
        steps = np.diff(indices)
        if len(indices) == 1:
            return self.slice(x, axis, indices[0], 1)
        if steps[0] > 0 and (steps == steps[0]).all():
            return self.slice(x, axis, indices[0], len(indices), steps[0])
        return self.gather(x, axis, indices)

    def concatenate(self, parts: Sequence[Node], axis: int) -> Node:
        """Parts one after the other along an axis."""
        return self.make("concatenate", *parts, axis=axis)

    def stack(self, parts: Sequence[Node], axis: int) -> Node:
        """Parts along a new axis."""
        return self.concatenate([self.expand(part, axis) for part in parts], axis)

    def product(self, a: Node, b: Node, left: str, right: str, out: str) -> Node:
        """The sum of products that an einsum of two operands is."""
        return self.make("product", a, b, equation=(left, right, out))

    def reduce(self, x: Node, function: str, axes: Sequence[int]) -> Node:
        """Such as ``reduce(x, "Sum", (1, 2))``."""
        return self.make("reduce", x, function=function, axes=tuple(sorted(axes)))

    def broadcast(self, x: Node, shape: Sequence[int]) -> Node:
        """Axes of size 1 repeated."""
        return self.make("broadcast", x, shape=tuple(int(each) for each in shape))

    def move(self, x: Node, source: int, target: int) -> Node:
        """Put one axis elsewhere."""
        axes = list(range(len(x.shape)))
        axes.insert(target, axes.pop(source))
        return self.transpose(x, axes)

    def drop(self, x: Node, axis: int) -> Node:
        """Leave out an axis of size 1."""
        return self.reshape(x, x.shape[:axis] + x.shape[axis + 1 :])

    def expand(self, x: Node, axis: int) -> Node:
        """Put in an axis of size 1."""
        return self.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))

    def repeat(self, x: Node, axis: int, count: int) -> Node:
        """Put in an axis along which all is the same."""
        x = self.expand(x, axis)
        return self.broadcast(x, (*x.shape[:axis], count, *x.shape[axis + 1 :]))


def computed(node: Node, weight: Callable[[Node], np.ndarray]) -> np.ndarray:
    """The value of a node that depends on weights alone, given a value for each weight's node."""
    found: dict[int, np.ndarray] = {}
    for each in in_order([node]):
        if each.op == "weight":
            found[each.number] = weight(each)
        elif each.op == "constant":
            found[each.number] = each.value
        else:
            inputs = [found[i.number] for i in each.inputs]
            found[each.number] = evaluate(each.op, each.attributes, inputs)
    return found[node.number]


def evaluate(op: str, attributes: dict[str, Any], values: Sequence[np.ndarray]) -> np.ndarray:
    """The value of an operation on arrays."""
    operation = OPERATIONS[op]
    if operation.on_arrays is not None:
        return np.asarray(operation.on_arrays(attributes, *values))
    return np.asarray(operation.run(attributes, *(tf.constant(value) for value in values)))
