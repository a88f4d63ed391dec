"""How a traced layer uses each of its inputs and weights: as numbers, as a mask, as indices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Operations that pass on the values of their first input, in another shape or type.
CARRIERS = {
    *("Identity", "Reshape", "ExpandDims", "Squeeze", "Transpose", "StridedSlice", "Slice"),
    *("Split", "SplitV", "Unpack", "Tile", "BroadcastTo", "EnsureShape", "StopGradient", "Pack"),
    *("ReverseV2", "Roll", "GatherV2", "Pad", "PadV2"),
}
SLICES = {"StridedSlice", "Slice", "Split", "SplitV", "Unpack", "GatherV2"}
SHIFTS = {"AddV2", "Add", "Sub", "Mul", "FloorMod", "Maximum", "Minimum"}
CHOICES = {"Select", "SelectV2"}
COMPARISONS = {"Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual"}
LOGIC = {"LogicalAnd", "LogicalOr", "LogicalNot", "All", "Any", "Where"}
PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"}
# Which input of an operation is an index, and which one gives their number.
INDEXED = {
    "GatherV2": (1, 0),
    "GatherNd": (1, 0),
    "ResourceGather": (1, 0),
    "OneHot": (0, 1),
    "UnsortedSegmentSum": (1, 2),
    "UnsortedSegmentMax": (1, 2),
    "UnsortedSegmentMin": (1, 2),
    "UnsortedSegmentProd": (1, 2),
    "DenseBincount": (0, 1),
    "Bincount": (0, 1),
    "ScatterNd": (0, 2),
    "TensorScatterUpdate": (1, 0),
    "TensorScatterAdd": (1, 0),
}
# Operations that need the shape of a tensor but not its values.
SHAPE_ONLY = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
HUGE = 1e3  # a factor that turns a mask into "minus infinity"


@dataclass
class Usage:
    """How the values of one input are used.

    Args:
        penalized: the value that is turned into "minus infinity", as happens only to masks.
        as_mask: used as true or false.
        as_number: used in arithmetic, like any number.
        compared: compared with constants, the highest of which is ``threshold``.
        indices: for each use as an index, how many there are; None if that is not known.
        lengths: for each comparison with the steps 0, 1, 2 ..., how many there are.
        multiplied: multiplied by other values, like a mask or a number.
        projected: used in a matrix product, like an adjacency or a number.
        corners: sliced and compared with other slices, like the corners of boxes.
        read: whether an output depends on its values.
    """

    penalized: int | None = None
    as_mask: bool = False
    as_number: bool = False
    compared: bool = False
    threshold: float = 0.0
    indices: tuple[int | None, ...] = ()
    lengths: tuple[int, ...] = ()
    multiplied: bool = False
    projected: bool = False
    corners: bool = False
    read: bool = True

    @property
    def binary(self) -> bool:
        """Whether only zeros and ones make sense."""
        return self.penalized is not None or (self._decides and self.threshold <= 1)

    @property
    def levels(self) -> int | None:
        """How many whole numbers make a difference, if they are only used in comparisons."""
        return int(self.threshold) + 2 if self._decides and self.threshold > 1 else None

    @property
    def _decides(self) -> bool:
        arithmetic = self.as_number or self.multiplied or self.projected or self.corners
        return (self.as_mask or self.compared) and not arithmetic


@dataclass(frozen=True)
class _Place:
    """A tensor that carries an input's values, and the changes made to them on the way."""

    tensor: Any
    complement: bool = False  # 1 - m, or m - 1
    sliced: bool = False


def usages(graph: Any, weights: list[keras.Variable]) -> list[Usage]:
    """The usage of each input of a traced call, given the layer's weights."""
    read = _read_by_outputs(graph)
    rows = {id(weight.value.handle): weight.shape[0] for weight in weights if weight.shape}
    tables = {place: rows.get(outer) for place, outer in _handles(graph).items()}
    results = {id(output) for output in tf.nest.flatten(graph.outputs)}
    found = []
    for tensor in graph.inputs[: len(graph.inputs) - len(graph.captured_inputs)]:
        usage = Usage(read=id(tensor) in read)
        for place, consumer, position in _uses(tensor):
            if consumer is not None:
                _note(usage, place, consumer, position, tables)
            elif id(place.tensor) in results:
                usage.as_number = True
        found.append(usage)
    return found


def unread_weights(graph: Any, weights: list[keras.Variable]) -> list[keras.Variable]:
    """The weights that no output of a traced call depends on."""
    read = _read_by_outputs(graph)
    used = {key for place, key in _handles(graph).items() if place in read}
    return [weight for weight in weights if id(weight.value.handle) not in used]


def operations(graph: Any) -> set[str]:
    """The kinds of all operations in a traced call, including those in functions it calls."""
    definition = graph.graph.as_graph_def()
    nodes = [*definition.node]
    nodes += [node for function in definition.library.function for node in function.node_def]
    return {node.op for node in nodes}


def _handles(graph: Any) -> dict[int, int]:
    places = graph.inputs[len(graph.inputs) - len(graph.captured_inputs) :]
    return {
        id(place): id(outer) for place, outer in zip(places, graph.captured_inputs, strict=True)
    }


def _read_by_outputs(graph: Any) -> set[int]:
    queue = [output for output in tf.nest.flatten(graph.outputs) if output is not None]
    seen = {id(tensor) for tensor in queue}
    while queue:
        operation = queue.pop().op
        if operation.type in SHAPE_ONLY:
            continue
        for tensor in operation.inputs:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                queue.append(tensor)
    return seen


def _uses(tensor: Any) -> Iterator[tuple[_Place, Any, int]]:
    # Every place that the values reach, then each operation that consumes them there.
    queue, seen = [_Place(tensor)], set()
    while queue:
        place = queue.pop()
        if (id(place.tensor), place.complement) in seen:
            continue
        seen.add((id(place.tensor), place.complement))
        yield place, None, 0
        for consumer in place.tensor.consumers():
            positions = [i for i, each in enumerate(consumer.inputs) if each is place.tensor]
            for position in positions:
                carried = _carried(place, consumer, position)
                if carried is None:
                    yield place, consumer, position
                else:
                    queue += carried


def _carried(place: _Place, consumer: Any, position: int) -> list[_Place] | None:
    kind = consumer.type
    sliced = place.sliced or (kind in SLICES and _cuts(consumer))
    if kind == "Cast" and consumer.outputs[0].dtype != tf.bool:
        return [_Place(consumer.outputs[0], place.complement, sliced)]
    if kind in CARRIERS and (position == 0 or kind in ("Pack", "Split")):
        if kind == "GatherV2" and _constant(consumer.inputs[1]) is None:
            return None
        return [_Place(output, place.complement, sliced) for output in consumer.outputs]
    if kind in CHOICES and position > 0:
        return [_Place(consumer.outputs[0], place.complement, sliced)]
    if kind in SHIFTS:
        other = _constant(consumer.inputs[1 - position])
        if other is None or (kind == "Mul" and np.any(np.abs(other) >= HUGE)):
            return None
        complement = kind == "Sub" and other.size == 1 and float(other.flat[0]) == 1
        return [_Place(consumer.outputs[0], place.complement or complement, sliced)]
    return None


def _cuts(consumer: Any) -> bool:
    # Whether it takes single coordinates out of the four of a box.
    source = consumer.inputs[1] if consumer.type == "Split" else consumer.inputs[0]
    return source.shape[-1:] == (4,) and consumer.outputs[0].shape[-1:] != (4,)


def _note(usage: Usage, place: _Place, consumer: Any, position: int, tables: dict) -> None:
    kind = consumer.type
    others = [each for i, each in enumerate(consumer.inputs) if i != position]
    constants = [value for each in others if (value := _constant(each)) is not None]
    if kind in SHAPE_ONLY:
        return
    if kind in INDEXED and INDEXED[kind][0] == position:
        usage.indices += (_how_many(consumer, tables),)
    elif kind == "Cast" or kind in LOGIC or kind in CHOICES:
        usage.as_mask = True
    elif kind in COMPARISONS and constants:
        _note_comparison(usage, kind, constants[0])
    elif kind == "Mul" and constants:
        if place.complement or np.all(constants[0] <= -HUGE):
            usage.penalized = 0 if place.complement else 1
        else:
            usage.as_number = True
    elif place.sliced and kind in ("Maximum", "Minimum", "Sub"):
        usage.corners = True
    else:
        usage.multiplied |= kind == "Mul"
        usage.projected |= kind in PRODUCTS
        usage.as_number |= kind != "Mul" and kind not in PRODUCTS


def _note_comparison(usage: Usage, kind: str, constant: np.ndarray) -> None:
    line = np.unique(constant)
    if len(line) > 1 and np.array_equal(line, np.arange(len(line))):
        if kind in ("Equal", "NotEqual"):
            usage.indices += (len(line),)
        else:
            usage.lengths += (len(line),)
    else:
        usage.compared = True
        usage.threshold = max(usage.threshold, float(np.max(constant, initial=0)))


def _how_many(consumer: Any, tables: dict[int, int | None]) -> int | None:
    holder = consumer.inputs[INDEXED[consumer.type][1]]
    if consumer.type == "ResourceGather":
        return tables.get(id(holder))
    if consumer.type == "GatherV2":
        axis = _constant(consumer.inputs[2])
        return None if axis is None else holder.shape[int(axis)]
    if consumer.type in ("GatherNd", "TensorScatterUpdate", "TensorScatterAdd"):
        return holder.shape[0]
    number = _constant(holder)
    return None if number is None else int(np.min(number))


def _constant(tensor: Any) -> np.ndarray | None:
    """The value of a tensor that depends on no input, None if it is unknown."""
    if tensor.dtype == tf.resource:
        return None
    value = tf.get_static_value(tensor)
    if value is None and tensor.op.type in CARRIERS:
        return _constant(tensor.op.inputs[0])
    return None if value is None else np.asarray(value)
