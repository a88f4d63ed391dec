"""The origins of the tensors in a traced graph: an input and its axis, or weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

SIZES = {"Shape", "ShapeN", "Size", "Rank"}
SAME = {"Identity", "StopGradient", "Cast", "ReadVariableOp"}


@dataclass(frozen=True)
class Cut:
    """A part taken from a tensor along one axis: its start and its width.

    If the start is computed, ``start`` is the name of the tensor that holds it, and the width is 0.
    """

    tensor: str
    axis: int
    start: int | str
    width: int


class Flow:
    """The operations of a graph in order, and what each depends on."""

    def __init__(self, graph: tf.Graph) -> None:
        self.operations = graph.get_operations()
        # A tensor that existed before the graph is a constant in it.
        self.constants = {
            inside.op.name
            for outside, inside in getattr(graph, "captures", ())
            if not tf.is_symbolic_tensor(outside)
        }

    @cached_property
    def from_input(self) -> set[str]:
        """Names of the operations whose values depend on an input's values."""
        found: set[str] = set()
        for op in self.operations:
            if op.type in SIZES:
                continue
            is_input = (
                op.type == "Placeholder"
                and op.outputs[0].dtype != tf.resource
                and op.name not in self.constants
            )
            if is_input or any(tensor.op.name in found for tensor in op.inputs):
                found.add(op.name)
        return found

    @cached_property
    def from_constants(self) -> set[str]:
        """Names of the operations that depend on a tensor that existed before the graph."""
        found = set(self.constants)
        for op in self.operations:
            if any(tensor.op.name in found for tensor in op.inputs):
                found.add(op.name)
        return found

    @cached_property
    def from_weights(self) -> dict[str, frozenset[str]]:
        """For each operation that depends only on weights, the variables it reads."""
        found: dict[str, frozenset[str]] = {}
        for op in self.operations:
            if op.type == "Placeholder" and op.outputs[0].dtype == tf.resource:
                found[op.name] = frozenset([op.name])
            elif op.inputs and op.name not in self.from_input:
                read = [found[t.op.name] for t in op.inputs if t.op.name in found]
                if read:
                    found[op.name] = frozenset().union(*read)
        return found

    def is_input(self, tensor: tf.Tensor) -> bool:
        """Whether a tensor depends on an input's values."""
        return tensor.op.name in self.from_input

    def value(self, tensor: tf.Tensor) -> np.ndarray | None:
        """The value of a tensor that depends only on shapes, None for any other."""
        known = tf.get_static_value(tensor)
        if known is not None or self._depends(tensor):
            return known
        # A shape is the same whatever is fed.
        inputs = [op.outputs[0] for op in operations_before([tensor]) if op.type == "Placeholder"]
        if not all(one.shape.is_fully_defined() for one in inputs):
            return None
        zeros = {one: np.zeros(one.shape, one.dtype.as_numpy_dtype) for one in inputs}
        return self._session.run(tensor, zeros)

    def _depends(self, tensor: tf.Tensor) -> bool:
        name = tensor.op.name
        return name in self.from_input or name in self.from_weights or name in self.from_constants

    @cached_property
    def _session(self) -> tf.compat.v1.Session:
        return tf.compat.v1.Session(graph=self.operations[0].graph)

    def cuts(self, op: tf.Operation) -> Iterator[tuple[tf.Tensor, Cut]]:
        """The parts that an operation takes, each with its source tensor."""
        if op.type == "StridedSlice":
            yield from self._sliced(op)
        elif op.type == "Slice":
            begin, size = (self.value(tensor) for tensor in op.inputs[1:])
            whole = op.inputs[0].shape
            if begin is not None and size is not None and whole.rank is not None:
                for axis, (start, width) in enumerate(zip(begin, size, strict=True)):
                    if width not in (-1, whole[axis]):
                        yield op.inputs[0], Cut(_name(op.inputs[0]), axis, int(start), int(width))
        elif op.type in ("GatherV2", "ResourceGather"):
            index = self.value(op.inputs[1])
            axis = self.value(op.inputs[2]) if op.type == "GatherV2" else 0
            if index is not None and axis is not None and np.ndim(index) <= 1 and np.size(index):
                start = int(np.ravel(index)[0])
                rank = op.inputs[0].shape.rank or 0
                place = int(axis) % rank if rank else int(axis)
                cut = Cut(_name(op.inputs[0]), place, start, int(np.size(index)))
                yield op.inputs[0], cut

    def _sliced(self, op: tf.Operation) -> Iterator[tuple[tf.Tensor, Cut]]:
        source, begin, end = op.inputs[0], *(self.value(tensor) for tensor in op.inputs[1:3])
        for axis, place in enumerate(_places(op)) if source.shape.rank is not None else ():
            if place is None:
                continue
            single = op.get_attr("shrink_axis_mask") >> place & 1
            from_first = op.get_attr("begin_mask") >> place & 1
            to_last = op.get_attr("end_mask") >> place & 1
            if from_first and to_last and not single:
                continue
            size = source.shape[axis]
            if begin is None or end is None:
                yield source, Cut(_name(source), axis, op.inputs[1].name, single)
                continue
            start = 0 if from_first else _from_front(begin[place], size)
            stop = size if to_last else _from_front(end[place], size)
            width = 1 if single or stop is None else stop - start
            yield source, Cut(_name(source), axis, start, width)

    def pieces(self, tensor: tf.Tensor) -> Iterator[tuple[tf.Tensor, Cut]]:
        """The source of a tensor, if it is an output of a split or an unstack."""
        op = tensor.op
        if op.type == "Unpack":
            source, axis = op.inputs[0], op.get_attr("axis")
        elif op.type in ("Split", "SplitV"):
            source, axis = (op.inputs[1], op.inputs[0]) if op.type == "Split" else op.inputs[::2]
            axis = tf.get_static_value(axis)
        else:
            return
        if axis is not None and source.shape.rank:
            axis = int(axis) % source.shape.rank
            width = 1 if op.type == "Unpack" else tensor.shape[axis] or 1
            yield source, Cut(_name(source), axis, tensor.value_index, width)

    def origin(self, tensor: tf.Tensor, axis: int) -> tuple[tf.Tensor, int]:
        """The first tensor in which the axis of another one exists, and the number of that axis."""
        while True:
            for source in tensor.op.inputs:
                before = _axis_before(tensor.op, source, tensor, axis)
                if self.is_input(source) and before is not None:
                    tensor, axis = source, before
                    break
            else:
                return tensor, axis


def operations_before(tensors: list[tf.Tensor]) -> list[tf.Operation]:
    """The operations that compute the given tensors."""
    found: dict[str, tf.Operation] = {}
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found[op.name] = op
            waiting += [source.op for source in op.inputs]
    return list(found.values())


def _name(tensor: tf.Tensor) -> str:
    """A tensor's name; for a weight that of its variable, which each step may read again."""
    while tensor.op.type in ("Identity", "ReadVariableOp"):
        tensor = tensor.op.inputs[0]
    return tensor.name


def _from_front(place: int, size: int | None) -> int:
    return int(place) + size if place < 0 and size is not None else int(place)


def _places(op: tf.Operation) -> list[int | None]:
    """For each axis of the sliced tensor, the place of its slice; None if it is taken whole."""
    rank = op.inputs[0].shape.rank
    new, ellipsis = op.get_attr("new_axis_mask"), op.get_attr("ellipsis_mask")
    count = op.inputs[1].shape[0] or 0
    given = [place for place in range(count) if not new >> place & 1 and not ellipsis >> place & 1]
    before = [place for place in given if not ellipsis or 1 << place < ellipsis]
    after = [place for place in given if place not in before]
    middle = [None] * (rank - len(before) - len(after))
    return [*before, *middle, *after]


def _axis_before(op: tf.Operation, source: tf.Tensor, tensor: tf.Tensor, axis: int) -> int | None:
    """Which axis of an operation's input became an axis of its output."""
    before, after = source.shape, tensor.shape
    if before.rank is None or after.rank is None:
        return None
    if op.type == "Transpose":
        order = tf.get_static_value(op.inputs[1])
        return None if order is None else int(order[axis])
    if op.type == "StridedSlice":
        shrunk, new = op.get_attr("shrink_axis_mask"), op.get_attr("new_axis_mask")
        if new:
            return None
        kept = [i for i, p in enumerate(_places(op)) if p is None or not shrunk >> p & 1]
        return kept[axis]
    if op.type == "Unpack":
        return axis + (axis >= op.get_attr("axis") % before.rank)
    if op.type in ("ExpandDims", "Squeeze", "Reshape"):
        behind = after[axis:].num_elements()
        for place in range(before.rank) if behind else ():
            if before[place] == after[axis] and before[place:].num_elements() == behind:
                return place
        return None
    if op.type == "GatherV2" and source is op.inputs[1]:  # a lookup: the indices' axes come first
        return axis if axis < before.rank else None
    same = before.rank == after.rank and before[axis] == after[axis]
    return axis if same else None
