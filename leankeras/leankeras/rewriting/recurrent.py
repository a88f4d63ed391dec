"""Programs that are a recurrence of Keras's: which gate is which is found by trying.

The weights are taken apart into one block for each gate. The recurrence is computed with NumPy for
each order of the blocks and both directions of time, and held against the values of the program.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

import keras
import numpy as np

from leankeras.rewriting.building import Graph
from leankeras.rewriting.node import Node, in_order, size
from leankeras.rewriting.stock import Stock
from leankeras.rewriting.weights import choose_weights

NEAR = 1e-4

Gates = list[np.ndarray]
# What a step makes of the state, from what the input gives each gate and what the state gives it.
Step = Callable[[np.ndarray, Gates, Callable[[np.ndarray, int], np.ndarray]], np.ndarray]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


@dataclass(frozen=True)
class Cell:
    """One of Keras's recurrent layers.

    Args:
        kind: its class in ``keras.layers``.
        gates: how many it has.
        step: gets the state, what the input adds to each gate, and a function that gives what a
            state adds to a gate; gives the next state, of which the first units are the output.
        states: how many states it has.
        biases: how many biases each gate has.
        arguments: what it is made with.
    """

    kind: str
    gates: int
    step: Step
    states: int = 1
    biases: int = 1
    arguments: dict[str, Any] = field(default_factory=dict)


def _simple(activation: Callable[[np.ndarray], np.ndarray]) -> Step:
    return lambda state, given, of: activation(given[0] + of(state, 0))


def _lstm(both: np.ndarray, given: Gates, of: Callable) -> np.ndarray:
    state, carry = np.split(both, 2, axis=-1)
    i, f, g, o = (given[gate] + of(state, gate) for gate in range(4))
    carry = _sigmoid(f) * carry + _sigmoid(i) * np.tanh(g)
    return np.concatenate([_sigmoid(o) * np.tanh(carry), carry], axis=-1)


def _gru(reset_after: bool) -> Step:
    def step(state: np.ndarray, given: Gates, of: Callable) -> np.ndarray:
        update, reset = (_sigmoid(given[gate] + of(state, gate)) for gate in range(2))
        seen = reset * of(state, 2) if reset_after else of(reset * state, 2)
        return update * state + (1 - update) * np.tanh(given[2] + seen)

    return step


CELLS = (
    Cell("SimpleRNN", 1, _simple(np.tanh)),
    Cell("SimpleRNN", 1, _simple(_relu), arguments={"activation": "relu"}),
    Cell("SimpleRNN", 1, _simple(_sigmoid), arguments={"activation": "sigmoid"}),
    Cell("GRU", 3, _gru(reset_after=False), arguments={"reset_after": False}),
    Cell("GRU", 3, _gru(reset_after=True), biases=2),
    Cell("LSTM", 4, _lstm, states=2),
)  # fmt: skip


@dataclass(frozen=True)
class _Blocks:
    """The parts of the weights, one for each gate, in some order.

    Args:
        kernel, recurrent, bias: the parts.
        weights: how many old weights they are parts of, for each of the three.
    """

    kernel: list[Node]
    recurrent: list[Node]
    bias: list[Node]
    weights: tuple[int, int, int]


def recurrence(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> Stock | None:
    """A simple recurrence, a gated recurrent unit or an LSTM; all states or the last one."""
    units = out.shape[-1]
    if len(x.shape) != 3 or out.shape not in ((*x.shape[:2], units), (x.shape[0], units)):
        return None
    blocks = _blocks(g, out, x, variables)
    if blocks is None:
        return None
    for cell in CELLS:
        for ordered in _orders(cell, blocks):
            for backwards in (False, True):
                if np.allclose(_run(cell, ordered, x, out, backwards), out.value, atol=NEAR):
                    return _stock(g, cell, ordered, out, backwards)
    return None


def _blocks(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> _Blocks | None:
    """The weights in parts of as many columns as there are units."""
    units, features = out.shape[-1], x.shape[-1]
    kernel, recurrent, bias = parts = [], [], []
    numbers = [0, 0, 0]
    for weight in choose_weights([out], variables).values():
        node = weight.node
        count, rest = divmod(node.shape[-1] if node.shape else 0, units)
        if rest or not count:
            return None
        if size(node.shape[:-1]) == 1 and not _is_multiplied(out, node):
            place, rows = bias, ()
        elif len(node.shape) == 2 and node.shape[0] == features and _meets_input(out, node):
            place, rows = kernel, (features,)
        elif len(node.shape) == 2 and node.shape[0] == units:
            place, rows = recurrent, (units,)
        else:
            return None
        flat = g.reshape(node, (*rows, count * units))
        place += [g.slice(flat, len(rows), start * units, units) for start in range(count)]
        old = sum(each.op == "weight" for each in in_order([node]))
        numbers = [n + old * (place is part) for n, part in zip(numbers, parts, strict=True)]
    return _Blocks(kernel, recurrent, bias, tuple(numbers))


def _meets_input(out: Node, weight: Node) -> bool:
    """Whether a weight is multiplied with the whole input, as a kernel is."""
    return any(
        node.op == "product" and node.inputs[1] is weight and len(node.inputs[0].shape) == 3
        for node in in_order([out])
    )


def _is_multiplied(out: Node, weight: Node) -> bool:
    return any(node.op == "product" and weight in node.inputs for node in in_order([out]))


def _orders(cell: Cell, blocks: _Blocks) -> Iterator[_Blocks]:
    """The blocks in each order that they could have for a cell."""
    counts = (len(blocks.kernel), len(blocks.recurrent))
    biases = blocks.bias
    if counts != (cell.gates, cell.gates) or len(biases) not in (0, cell.gates * cell.biases):
        return
    places = list(permutations(range(cell.gates)))
    # A weight that held all gates has them in the order of the others that did.
    wholes = [blocks.weights[0] == 1, blocks.weights[1] == 1, blocks.weights[2] <= cell.biases]
    free = 0 if cell.gates > 3 else wholes.count(False)
    orders = []
    for own in product(places, repeat=free + (free < 3)):
        rest = iter(own[free < 3 :])
        orders.append([own[0] if whole or not free else next(rest) for whole in wholes])
    sides = [biases]
    if cell.biases == 2 and biases:  # those of the input first, or those of the state, or in turn
        first, second = biases[: cell.gates], biases[cell.gates :]
        one, other = biases[::2], biases[1::2]
        sides = [first + second, second + first, one + other, other + one]
    for (kernel, recurrent, bias), side in product(orders, sides):
        starts = range(0, len(side), cell.gates)
        yield _Blocks(
            [blocks.kernel[place] for place in kernel],
            [blocks.recurrent[place] for place in recurrent],
            [side[start + place] for start in starts for place in bias],
            blocks.weights,
        )


def _run(cell: Cell, blocks: _Blocks, x: Node, out: Node, backwards: bool) -> np.ndarray:
    """What Keras's layer computes with the blocks in this order."""
    steps, units = x.shape[1], out.shape[-1]
    biases = [bias.value for bias in blocks.bias] or [0.0] * cell.gates
    from_input = [
        x.value @ kernel.value + bias for kernel, bias in zip(blocks.kernel, biases, strict=False)
    ]
    of_state = biases[cell.gates :] or [0.0] * cell.gates

    def of(state: np.ndarray, gate: int) -> np.ndarray:
        return state @ blocks.recurrent[gate].value + of_state[gate]

    state, states = np.zeros((len(x.value), cell.states * units), "float32"), []
    for step in reversed(range(steps)) if backwards else range(steps):
        state = cell.step(state, [part[:, step] for part in from_input], of)
        states.append(state[:, :units])
    return np.stack(states, axis=1) if len(out.shape) == 3 else states[-1]


def _stock(g: Graph, cell: Cell, blocks: _Blocks, out: Node, backwards: bool) -> Stock:
    arguments: dict[str, Any] = {"units": out.shape[-1], **cell.arguments}
    arguments |= {"return_sequences": True} if len(out.shape) == 3 else {}
    arguments |= {} if blocks.bias else {"use_bias": False}
    arguments |= {"go_backwards": True} if backwards else {}
    weights = [
        ("cell.kernel", g.concatenate(blocks.kernel, 1)),
        ("cell.recurrent_kernel", g.concatenate(blocks.recurrent, 1)),
    ]
    if blocks.bias:
        bias = g.concatenate(blocks.bias, 0)
        if cell.biases > 1:
            bias = g.reshape(bias, (cell.biases, size(bias.shape) // cell.biases))
        weights.append(("cell.bias", bias))
    return Stock(cell.kind, {**arguments, "unroll": True}, tuple(weights))
