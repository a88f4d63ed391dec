"""Which sizes in a program are multiples of the batch: read off the same program at two sizes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from leankeras.errors import RewriteError
from leankeras.rewriting.node import Node
from leankeras.rewriting.operations import Batch

PRIMES = (5, 7, 11, 13, 17, 19, 23)
SIZED = ("reshape", "broadcast")  # operations whose attributes may speak of the batch


def batch_sizes(shapes: Iterable[Sequence[int]]) -> tuple[int, int]:
    """Two sizes for a batch that are no sizes of anything else, where that is possible.

    Args:
        shapes: of the inputs, without the batch, and of the weights.
    """
    taken = {int(size) for shape in shapes for size in shape}
    small, large, *_ = sorted(PRIMES, key=lambda prime: (prime in taken, prime))
    return min(small, large), max(small, large)


def with_batch(
    one: Sequence[Node], other: Sequence[Node], sizes: tuple[int, int]
) -> dict[int, dict[str, Any]]:
    """The attributes of the nodes of ``one``, with :class:`Batch` where a size depends on it.

    Args:
        one, other: outputs of the two programs.
        sizes: the sizes of the batch that they were made for.

    Raises:
        RewriteError: the two differ in something else.
    """
    found: dict[int, dict[str, Any]] = {}
    pairs = list(zip(one, other, strict=True))
    while pairs:
        x, y = pairs.pop()
        if x.number in found:
            continue
        alike = x.op == y.op and len(x.inputs) == len(y.inputs)
        if not alike or x.attributes.keys() != y.attributes.keys():
            raise RewriteError(
                f"what is computed depends on the size of the batch: {_words(x)} for {sizes[0]} "
                f"samples, {_words(y)} for {sizes[1]}"
            )
        if x.op == "constant" and not _equal(x.value, y.value):
            raise RewriteError("a constant depends on the size of the batch")
        found[x.number] = {
            name: _unified(value, y.attributes[name], x.op, sizes)
            for name, value in x.attributes.items()
        }
        pairs += zip(x.inputs, y.inputs, strict=True)
    return found


def _words(node: Node) -> str:
    return f"a {node.op} of {len(node.inputs)}"


def _unified(one: Any, other: Any, op: str, sizes: tuple[int, int]) -> Any:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return tuple(_unified(*pair, op, sizes) for pair in zip(one, other, strict=True))
    if one == other:
        return one
    small, large = sizes
    if op in SIZED and isinstance(one, int) and one % small == 0 and other == one // small * large:
        return Batch(one // small)
    raise RewriteError(
        f"{op} depends on the size of the batch: {one} for {small} samples, {other} for {large}; "
        "only multiples of it can be rewritten"
    )


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    is_float = one.dtype.kind == "f"
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=is_float)
