"""The last passes: forms that LiteRT runs fast and that read well."""

from string import ascii_letters

from leankeras.rewriting.node import DATA, Node, size
from leankeras.rewriting.passes import Rebuild

PRODUCTS = ("product", "convolution", "depthwise")
FEWEST_PARTS = 3


def find_pools(rebuild: Rebuild) -> list[Node]:
    """The largest or the mean of windows that do not overlap, as pooling."""

    def change(old: Node, new: Node) -> Node | None:
        if new.op != "reduce" or new.attributes["function"] not in ("Max", "Mean"):
            return None
        (windows,) = new.inputs
        if new.attributes["axes"] != (2, 4) or windows.op != "reshape":
            return None
        (source,) = windows.inputs
        if len(windows.shape) != 6 or len(source.shape) != 4:
            return None
        batch, rows, high, columns, wide, channels = windows.shape
        if source.shape != (batch, rows * high, columns * wide, channels):
            return None
        function = "max" if new.attributes["function"] == "Max" else "avg"
        return rebuild.graph.make("pool", source, function=function, size=(high, wide))

    return rebuild.run(change)


def flatten_products(rebuild: Rebuild) -> list[Node]:
    """Products with weights as products with a plain matrix, the input first."""
    g = rebuild.graph

    def change(old: Node, new: Node) -> Node | None:
        if new.op != "product":
            return None
        (left, right, out), (x, weight) = new.attributes["equation"], new.inputs
        summed = [axis for axis in left if axis in right and axis not in out]
        shared = [axis for axis in left if axis in right and axis in out]
        if weight.depends == DATA or shared or not summed:
            return None
        rows = [axis for axis in out if axis in left]
        columns = [axis for axis in out if axis in right]
        as_given = [axis for axis in left if axis in rows]
        if as_given != rows and left.endswith("".join(summed)):
            rows = as_given
        if len(rows) + len(summed) < len(left) or len(summed) + len(columns) < len(right):
            return None
        x = g.transpose(x, [left.index(axis) for axis in rows + summed])
        weight = g.transpose(weight, [right.index(axis) for axis in summed + columns])
        inner = size(weight.shape[: len(summed)])
        sizes = [new.shape[out.index(axis)] for axis in rows + columns]
        x = g.reshape(x, (*x.shape[: len(rows)], inner))
        weight = g.reshape(weight, (inner, size(weight.shape) // inner))
        letters = ascii_letters[: len(rows)]
        g.settled = True
        made = g.product(x, weight, f"{letters}y", "yz", f"{letters}z")
        g.settled = False
        order = [(rows + columns).index(axis) for axis in out]
        return g.transpose(g.reshape(made, sizes), order)

    return rebuild.run(change)


def sink_reshapes(rebuild: Rebuild) -> list[Node]:
    """Bias and activation before a reshape, to where they are fused with the product."""
    g = rebuild.graph

    def change(old: Node, new: Node) -> Node | None:
        if new.op == "slice" and new.inputs[0].op == "reshape":
            return g.make("slice", new.inputs[0], **new.attributes)
        if new.op != "elementwise" or new.depends != DATA:
            return None
        moving = [each for each in new.inputs if each.depends == DATA]
        if not moving or any(each.op != "reshape" or each.shape != new.shape for each in moving):
            return None
        inner = [each.inputs[0] for each in moving]
        slim = [tuple(length for length in each.shape if length != 1) for each in inner]
        if any(each != slim[0] for each in slim):
            return None
        target = inner[0].shape if len({x.shape for x in inner}) == 1 else slim[0]
        worth_it = (
            len(new.inputs) == 1
            or any(each.op in PRODUCTS for each in inner)
            or all(each.op == "elementwise" for each in inner)
            or len(target) < len(new.shape)
        )
        if target == new.shape or not worth_it:
            return None
        given = []
        for each in new.inputs:
            if each.depends == DATA:
                given.append(g.reshape(each.inputs[0], target))
            elif size(each.shape) == 1:
                given.append(g.reshape(each, ()))
            else:
                fitted = _fitted(rebuild, each, new.shape, target)
                if fitted is None:
                    return None
                given.append(fitted)
        return g.reshape(g.make("elementwise", *given, **new.attributes), new.shape)

    return rebuild.run(change)


def _fitted(
    rebuild: Rebuild, weight: Node, shape: tuple[int, ...], target: tuple[int, ...]
) -> Node | None:
    """A weight that is broadcast to a shape, for another shape of as many numbers."""
    g = rebuild.graph
    first = next(axis for axis, length in enumerate(weight.shape) if length != 1)
    tail = shape[first:]
    places = [p for p in range(len(target)) if size(target[p:]) == size(tail)]
    if not places:
        return None
    whole = g.broadcast(g.reshape(weight, weight.shape[first:]), tail)
    ones = (1,) * places[-1]
    return g.reshape(whole, (*ones, *target[places[-1] :]))


def name_parts(rebuild: Rebuild) -> list[Node]:
    """``x[:, 3:4]`` without its axis as ``x[:, 3]``; parts with an axis more as a stack."""
    g = rebuild.graph

    def change(old: Node, new: Node) -> Node | None:
        if new.op == "reshape" and new.inputs[0].op == "slice":
            part = new.inputs[0]
            axis, shape = part.attributes["axis"], part.shape
            if part.attributes["count"] == 1 and new.shape == shape[:axis] + shape[axis + 1 :]:
                start = part.attributes["start"]
                return g.make("pick", part.inputs[0], axis=axis, start=start)
        if new.op == "concatenate" and any(each.op == "reshape" for each in new.inputs):
            axis = new.attributes["axis"]
            if all(each.shape[axis] == 1 for each in new.inputs):
                return g.make("stack", *(g.drop(each, axis) for each in new.inputs), axis=axis)
        return None

    return rebuild.run(change)


def split_once(rebuild: Rebuild) -> list[Node]:
    """Many parts of one tensor as one split."""
    g = rebuild.graph

    def peers(old: Node, new: Node) -> list[Node]:
        return [
            each
            for each in rebuild.users[old.inputs[0].number]
            if each.op == new.op and each.attributes["axis"] == new.attributes["axis"]
        ]

    def change(old: Node, new: Node) -> Node | None:
        if new.op not in ("pick", "slice") or new.depends != DATA or old.op != new.op:
            return None
        (x,), axis, start = new.inputs, new.attributes["axis"], new.attributes["start"]
        if new.op == "pick":
            if len(peers(old, new)) < max(FEWEST_PARTS, x.shape[axis] / 2):
                return None
            return g.make("item", g.make("unstack", x, axis=axis), start=start)
        count = new.attributes["count"]
        equal = [
            each
            for each in peers(old, new)
            if each.attributes["count"] == count and each.attributes["start"] % count == 0
        ]
        parts = x.shape[axis] // count
        if new not in equal and old not in equal:
            return None
        if x.shape[axis] % count or len(equal) != parts or parts < FEWEST_PARTS:
            return None
        return g.make("item", g.make("split", x, axis=axis, parts=parts), start=start // count)

    return rebuild.run(change)
