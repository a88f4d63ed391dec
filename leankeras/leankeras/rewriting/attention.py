"""Programs that are Keras's MultiHeadAttention of one input with itself.

Where the queries, the keys and the values of each head lie in the weights is found by trying: the
attention is computed with NumPy for each arrangement and held against the values of the program.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import keras
import numpy as np

from leankeras.rewriting.building import Graph
from leankeras.rewriting.node import DATA, Node, in_order, size
from leankeras.rewriting.stock import SelfAttention, Stock
from leankeras.rewriting.weights import choose_weights

NEAR = 1e-4


@dataclass(frozen=True)
class _Arrangement:
    """How the columns of a weight are laid out: by role, by head and by number, in some order.

    Args:
        axes: for role, head and number which of the three axes of the weight it is.
        roles: the places of query, key and value along the axis of the roles.
        heads: how many heads there are.
        width: how many numbers each has.
    """

    axes: tuple[int, int, int]
    roles: tuple[int, int, int]
    heads: int
    width: int

    def parts(self, values: np.ndarray) -> list[np.ndarray]:
        """Query, key and value of an array with such columns: shape (..., heads, width)."""
        shape, axes = self._turn(values.shape)
        turned = values.reshape(shape).transpose(axes)
        return [turned[..., place, :, :] for place in self.roles]

    def nodes(self, g: Graph, node: Node) -> list[Node]:
        """The same of a node."""
        shape, axes = self._turn(node.shape)
        turned, lead = g.transpose(g.reshape(node, shape), axes), len(node.shape) - 1
        return [g.drop(g.slice(turned, lead, place, 1), lead) for place in self.roles]

    def _turn(self, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
        """The shape with three axes for the columns, and their order by role, head and number."""
        *before, _ = shape
        sizes = dict(zip(self.axes, (3, self.heads, self.width), strict=True))
        lead = len(before)
        return (
            [*before, *(sizes[axis] for axis in range(3))],
            [*range(lead), *(lead + axis for axis in self.axes)],
        )


def self_attention(
    g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]
) -> Stock | None:
    """Heads that attend from each step to all, put side by side and multiplied with a weight."""
    if len(x.shape) != 3 or len(out.shape) != 3 or out.shape[:2] != x.shape[:2]:
        return None
    if sum(node.op == "softmax" and node.depends == DATA for node in in_order([out])) != 1:
        return None
    weights = [each.node for each in choose_weights([out], variables).values()]
    for kernel, last, biases in _choices(g, weights, x.shape[2], out.shape[2]):
        for arrangement in _arrangements(kernel.shape[1] // 3):
            if np.allclose(_attend(x, kernel, last, biases, arrangement), out.value, atol=NEAR):
                return _stock(g, x, kernel, last, biases, arrangement)
    return None


def _choices(
    g: Graph, weights: list[Node], features: int, units: int
) -> Iterator[tuple[Node, Node, list[Node]]]:
    """The kernel of all heads, one row a feature; the kernel that joins them; and both biases."""
    if len(weights) not in (2, 4):
        return
    for wide, last, *biases in permutations(weights):
        total, rest = divmod(size(wide.shape), 3 * features)
        if rest or last.shape[-1] != units or size(last.shape) != total * units:
            continue
        if biases and [size(bias.shape) for bias in biases] != [3 * total, units]:
            continue
        flat = [g.reshape(bias, (size(bias.shape),)) for bias in biases]
        for axis, length in enumerate(wide.shape):
            if length == features:
                yield g.reshape(g.move(wide, axis, 0), (features, 3 * total)), last, flat


def _arrangements(total: int) -> Iterator[_Arrangement]:
    for heads in range(1, total + 1):
        if total % heads == 0:
            for axes, roles in product(permutations(range(3)), repeat=2):
                yield _Arrangement(axes, roles, heads, total // heads)


def _attend(
    x: Node, kernel: Node, last: Node, biases: list[Node], arrangement: _Arrangement
) -> np.ndarray:
    """What MultiHeadAttention gives with the weights arranged so."""
    sums = [np.einsum("btd,dhk->bthk", x.value, part) for part in arrangement.parts(kernel.value)]
    if biases:
        offsets = arrangement.parts(biases[0].value)
        sums = [part + offset for part, offset in zip(sums, offsets, strict=True)]
    query, key, value = sums
    scores = np.einsum("bthk,bshk->bhts", query, key) / np.sqrt(arrangement.width)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    final = last.value.reshape(arrangement.heads, arrangement.width, -1)
    out = np.einsum("bhts,bshk,hko->bto", shares, value, final, optimize=True)
    return out + biases[1].value if biases else out


def _stock(
    g: Graph, x: Node, kernel: Node, last: Node, biases: list[Node], arrangement: _Arrangement
) -> Stock:
    heads, width, units = arrangement.heads, arrangement.width, last.shape[-1]
    arguments: dict[str, Any] = {"num_heads": heads, "key_dim": width}
    if not biases:
        arguments["use_bias"] = False
    if units != x.shape[2]:
        arguments["output_shape"] = units
    kernels = [*arrangement.nodes(g, kernel), g.reshape(last, (heads, width, units))]
    offsets = [*arrangement.nodes(g, biases[0]), biases[1]] if biases else []
    weights = []
    for place, dense in enumerate(("query_dense", "key_dense", "value_dense", "output_dense")):
        weights.append((f"layers[1].{dense}.kernel", kernels[place]))
        if biases:
            weights.append((f"layers[1].{dense}.bias", offsets[place]))
    return SelfAttention("MultiHeadAttention", arguments, tuple(weights), x.shape[1:])
