"""How n equal operations of the turns of a loop become one: a rule for each operation.

A rule gets the alignment, the operation of the first turn, the aligned inputs, the number of turns
and where the axis of the loop is wanted. An aligned input is a node and the place of its loop
axis, None where all turns share it; at least one has an axis. A rule returns the same. To teach
`rewrite` another operation, add a function here and its row in ``MERGE``.
"""

from collections.abc import Callable
from typing import Any

from leankeras.rewriting.node import CONSTANT, DATA, Node, size
from leankeras.rewriting.products import free_letter

Aligned = tuple[Node, int | None]

# Kept operations that treat each sample by itself: more turns are more samples.
BY_SAMPLE = frozenset(
    {"AvgPool", "MaxPool", "AvgPool3D", "MaxPool3D", "Conv3D", "ResizeBilinear",
     "ResizeNearestNeighbor", "SpaceToDepth", "DepthToSpace", "SpaceToBatchND"}
)  # fmt: skip
# Kept operations that work on the last axis alone, and on nothing that they count from the front.
ON_LAST_AXIS = frozenset({"TopKV2", "LogSoftmax", "FFT", "IFFT", "Lgamma", "Erfc", "Tan", "Atan"})


class NotAlike(Exception):
    """Turns of a loop that cannot be merged.

    Args:
        reason: what differs.
        node: the operation that it is about.
    """

    def __init__(self, reason: str, node: Node) -> None:
        super().__init__(reason)
        self.node = node


def elementwise(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    """All inputs get the axis in the same place; those that all turns share are broadcast."""
    g, rank = align.graph, len(x.shape)
    own = sorted(
        (each for each in inputs if each[1] is not None),
        key=lambda each: (-each[0].depends, -size(each[0].shape)),
    )
    full = [each[1] for each in own if len(each[0].shape) == rank + 1]
    axis = full[0] if full else align.place(wanted, rank)
    placed = []
    for (node, place), old in zip(inputs, x.inputs, strict=True):
        if place is None:
            placed.append(g.expand(node, axis) if old.shape else node)
        elif old.shape:
            placed.append(g.move(node, place, axis))
        else:
            placed.append(g.reshape(node, (*(1,) * axis, n, *(1,) * (rank - axis))))
    return g.make(x.op, *placed, **x.attributes), axis


def unary(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    """What treats each number by itself."""
    ((node, axis),) = inputs
    return align.graph.make(x.op, node, **x.attributes), axis


def product(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    """With both operands of each turn a batched product, with one a wide one."""
    (left, right, out), ((a, a_axis), (b, b_axis)) = x.attributes["equation"], inputs
    letter = free_letter(left, right, out)
    if a_axis is not None:
        left = left[:a_axis] + letter + left[a_axis:]
    if b_axis is not None:
        right = right[:b_axis] + letter + right[b_axis:]
    if a_axis is not None and b_axis is not None:
        axis = 0
        while axis < len(out) and out[axis] in left and out[axis] in right:
            axis += 1
    else:
        mine, other, owner = (left, right, a) if a_axis is not None else (right, left, b)
        if owner.depends < DATA and align.front and set(left) & set(right) & set(out):
            axis = 0
        elif owner.depends < DATA:  # stacked weights make one wide product
            free = [each for each in out if each in mine and each not in other]
            axis = out.index(free[0]) if free else len(out)
        else:
            after = [each for each in mine[mine.index(letter) + 1 :] if each in out]
            before = [out.index(each) + 1 for each in mine if each in out]
            axis = out.index(after[0]) if after else max(before, default=0)
    return align.graph.product(a, b, left, right, out[:axis] + letter + out[axis:]), axis


def reduce(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    ((node, axis),), axes = inputs, x.attributes["axes"]
    made = align.graph.reduce(node, x.attributes["function"], [a + (a >= axis) for a in axes])
    return made, axis - sum(each < axis for each in axes)


def reshape(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    """The axis stays where the sizes before it are as many; else it is moved there first."""
    ((node, axis),), old, new = inputs, x.inputs[0].shape, x.shape

    def fits(place: int) -> list[int]:
        before = size(old[:place])
        return [each for each in range(len(new) + 1) if size(new[:each]) == before]

    if not fits(axis):
        places = [place for place in range(len(old) + 1) if fits(place)]
        nearest = min(places, key=lambda place: abs(place - axis))
        node, axis = align.graph.move(node, axis, nearest), nearest
    target = align.place(wanted, len(new))
    place = min(fits(axis), key=lambda each: abs(each - target))
    return align.graph.reshape(node, (*new[:place], n, *new[place:])), place


def transpose(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    ((node, axis),) = inputs
    axes = [each + (each >= axis) for each in x.attributes["axes"]]
    return align.graph.transpose(node, [*axes[:axis], axis, *axes[axis:]]), axis


def along_axis(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    """Slices, softmax, sums along an axis: the same along an axis that has moved on."""
    ((node, axis), *_), own = inputs, x.attributes["axis"]
    attributes = {**x.attributes, "axis": own + (own >= axis)}
    return align.graph.make(x.op, node, *x.inputs[1:], **attributes), axis


def gather(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    g, ((node, axis), (indices, indices_axis)), own = align.graph, inputs, x.attributes["axis"]
    rank = len(x.inputs[1].shape)
    if axis is None:  # one table, n sets of indices
        return g.make("gather", node, indices, axis=own), own + indices_axis
    if indices_axis is not None or x.inputs[1].depends != CONSTANT:
        raise NotAlike("the turns take different places of different tensors", x)
    made = g.make("gather", node, indices, axis=own + (own >= axis))
    return made, axis + (rank - 1 if axis > own else 0)


def batch_gather(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    """n tables with indices of their own are a longer batch; what turns share is looked up once."""
    g, ((node, axis), (indices, indices_axis)) = align.graph, inputs
    own, batch_dims = x.attributes["axis"], x.attributes["batch_dims"]
    if axis is None:
        indices = g.move(indices, indices_axis, batch_dims)
        return g.make("batch_gather", node, indices, **x.attributes), own
    if indices_axis is None:
        node = g.move(node, axis, len(x.inputs[0].shape))
        return g.make("batch_gather", node, indices, **x.attributes), len(x.shape)
    node, indices = g.move(node, axis, 0), g.move(indices, indices_axis, 0)
    made = g.make("batch_gather", node, indices, axis=own + 1, batch_dims=batch_dims + 1)
    return made, 0


def argmax(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    ((node, axis),), own = inputs, x.attributes["axis"]
    attributes = {**x.attributes, "axis": own + (own >= axis)}
    return align.graph.make("argmax", node, **attributes), axis - (own < axis)


def broadcast(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    ((node, axis),) = inputs
    return align.graph.broadcast(node, (*x.shape[:axis], n, *x.shape[axis:])), axis


def concatenate(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    own = [each for each in inputs if each[1] is not None]
    axis = next((place for node, place in own if node.depends == DATA), own[0][1])
    along = x.attributes["axis"]
    parts = [align.with_axis(each, axis, n) for each in inputs]
    return align.graph.concatenate(parts, along + (along >= axis)), axis


def convolution(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    """n images are more samples, n kernels more filters, and n of both are groups."""
    g, ((image, image_axis), (kernel, kernel_axis)) = align.graph, inputs
    if kernel_axis is None:
        image = g.move(image, image_axis, 0)
        flat = g.reshape(image, (n * image.shape[1], *image.shape[2:]))
        made = g.make(x.op, flat, kernel, **x.attributes)
        return g.reshape(made, (n, *x.shape)), 0
    channels = x.inputs[1].shape[2]
    if image_axis is None:
        if x.op != "convolution" or x.inputs[0].shape[3] != channels:
            raise NotAlike("n kernels for each group of the same channels", x)
        made = g.make("convolution", image, _side_by_side(g, kernel, kernel_axis, 3),
                      **x.attributes)  # fmt: skip
    else:
        image = _side_by_side(g, image, image_axis, 3)
        by_channel = channels == x.inputs[0].shape[3] == 1
        if x.op == "depthwise" or by_channel:
            made = g.make("depthwise", image, _side_by_side(g, kernel, kernel_axis, 2),
                          **x.attributes)  # fmt: skip
        else:
            made = g.make("convolution", image, _side_by_side(g, kernel, kernel_axis, 3),
                          **x.attributes)  # fmt: skip
    return g.reshape(made, (*x.shape[:3], n, x.shape[3])), 3


def _side_by_side(g: Any, node: Node, axis: int, target: int) -> Node:
    """The loop axis in front of another one, and joined with it."""
    node = g.move(node, axis, target)
    joined = node.shape[target] * node.shape[target + 1]
    return g.reshape(node, (*node.shape[:target], joined, *node.shape[target + 2 :]))


def kept(align: Any, x: Node, inputs: list[Aligned], n: int, wanted: int | None) -> Aligned:
    g, kind, (node, axis) = align.graph, x.attributes["type"], inputs[0]
    if any(place is not None for _, place in inputs[1:]) or axis is None:
        raise NotAlike(f"there is no rule to merge {kind} with inputs that differ in more", x)
    others = [other for other, _ in inputs[1:]]
    if kind in BY_SAMPLE and x.inputs[0].shape[0] == x.shape[0]:
        node = g.move(node, axis, 0)
        flat = g.reshape(node, (n * node.shape[1], *node.shape[2:]))
        return g.reshape(g.make("kept", flat, *others, **x.attributes), (n, *x.shape)), 0
    if kind in ON_LAST_AXIS and len(x.shape) == len(x.inputs[0].shape):
        return g.make("kept", g.move(node, axis, 0), *others, **x.attributes), 0
    raise NotAlike(f"there is no rule to merge {kind}", x)


MERGE: dict[str, Callable[[Any, Node, list[Aligned], int, int | None], Aligned]] = {
    "elementwise": elementwise,
    "leaky_relu": unary,
    "cast": unary,
    "product": product,
    "reduce": reduce,
    "reshape": reshape,
    "transpose": transpose,
    "slice": along_axis,
    "softmax": along_axis,
    "cumsum": along_axis,
    "gather": gather,
    "batch_gather": batch_gather,
    "argmax": argmax,
    "broadcast": broadcast,
    "concatenate": concatenate,
    "convolution": convolution,
    "depthwise": convolution,
    "kept": kept,
}

__all__ = ["MERGE", "Aligned", "NotAlike"]
