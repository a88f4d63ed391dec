"""Programs that are a recurrence of Keras's: which gate is which is found by trying.

The weights of the gates lie side by side when a program is finished. The recurrence is computed
with NumPy for each order of the gates and both directions of time, and held against the values of
the program.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import keras
import numpy as np

from leankeras.rewriting.building import Graph
from leankeras.rewriting.node import Node, in_order, size
from leankeras.rewriting.stock import Stock
from leankeras.rewriting.weights import choose_weights

NEAR = 1e-4


def _recurrent_weights(
    outputs: Node, x: Node, variables: Sequence[keras.Variable], gates: int
) -> tuple[Node, Node, Node] | None:
    """Kernel, recurrent kernel and bias of a recurrence with so many gates, side by side."""
    units, features = outputs.shape[-1], x.shape[-1]
    if len(x.shape) != 3 or outputs.shape not in (
        (*x.shape[:2], units), (x.shape[0], units)
    ):  # fmt: skip
        return None
    weights = [each.node for each in choose_weights([outputs], variables).values()]
    if len(weights) != 3:
        return None
    for kernel, recurrent, bias in permutations(weights):
        if (
            kernel.shape == (features, gates * units)
            and recurrent.shape == (units, gates * units)
            and size(bias.shape) == gates * units
            and any(each.op == "unstack" or each.op == "item" for each in in_order([outputs]))
            and not _meets_input(outputs, recurrent)
        ):
            return kernel, recurrent, bias
    return None


def _meets_input(out: Node, weight: Node) -> bool:
    """Whether a weight is multiplied with the whole input, as a kernel is."""
    return any(
        node.op == "product" and node.inputs[1] is weight and len(node.inputs[0].shape) == 3
        for node in in_order([out])
    )


def lstm(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> Stock | None:
    """Which gate is which, and which way time goes, is found by trying all on the values."""
    found = _recurrent_weights(out, x, variables, gates=4)
    if found is None:
        return None
    kernel, recurrent, bias = found
    units, sequence = out.shape[-1], len(out.shape) == 3
    from_input = x.value @ kernel.value + bias.value.reshape(-1)
    for backwards in (False, True):
        for order in permutations(range(4)):
            seen = _run_lstm(from_input, recurrent.value, order, backwards, sequence)
            if np.allclose(seen, out.value, atol=NEAR):
                arguments = {"units": units, "return_sequences": sequence, "unroll": True}
                if backwards:
                    arguments["go_backwards"] = True
                return Stock("LSTM", _without_defaults(arguments), tuple(
                    (name, _reordered(g, node, order, units))
                    for name, node in (
                        ("cell.kernel", kernel),
                        ("cell.recurrent_kernel", recurrent),
                        ("cell.bias", g.reshape(bias, (4 * units,))),
                    )
                ))  # fmt: skip
    return None


def _run_lstm(
    from_input: np.ndarray, recurrent: np.ndarray, order: Sequence[int], backwards: bool,
    sequence: bool,
) -> np.ndarray:  # fmt: skip
    batch, steps, units = len(from_input), from_input.shape[1], len(recurrent)
    state = carry = np.zeros((batch, units))
    states = []
    for step in reversed(range(steps)) if backwards else range(steps):
        parts = np.split(from_input[:, step] + state @ recurrent, 4, axis=-1)
        i, f, g, o = (parts[place] for place in order)
        carry = _sigmoid(f) * carry + _sigmoid(i) * np.tanh(g)
        state = _sigmoid(o) * np.tanh(carry)
        states.append(state)
    return np.stack(states, axis=1) if sequence else state


def gru(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> Stock | None:
    """A gated recurrent unit whose three gates have one kernel each for the input."""
    units, features = out.shape[-1], x.shape[-1]
    if len(x.shape) != 3 or out.shape not in ((*x.shape[:2], units), (x.shape[0], units)):
        return None
    weights = [each.node for each in choose_weights([out], variables).values()]
    wide = [w for w in weights if w.shape == (features, 3 * units)]
    gates = [w for w in weights if w.shape == (units, 2 * units)]
    single = [w for w in weights if w.shape == (units, units)]
    biases = [w for w in weights if size(w.shape) == 3 * units and w.shape[-1] == 3 * units]
    biases = [w for w in biases if w.shape != (features, 3 * units) or features == 1]
    if len(weights) != 4 or not (len(wide) == len(gates) == len(single) == len(biases) == 1):
        return None
    sequence = len(out.shape) == 3
    from_input = x.value @ wide[0].value + biases[0].value.reshape(-1)
    for backwards in (False, True):
        for order in permutations(range(3)):
            for swapped in (False, True):
                seen = _run_gru(from_input, gates[0].value, single[0].value, order, swapped,
                                backwards, sequence)  # fmt: skip
                if not np.allclose(seen, out.value, atol=NEAR):
                    continue
                arguments = {"units": units, "return_sequences": sequence, "unroll": True,
                             "reset_after": False}  # fmt: skip
                if backwards:
                    arguments["go_backwards"] = True
                pair = _reordered(g, gates[0], (1, 0) if swapped else (0, 1), units)
                return Stock("GRU", _without_defaults(arguments), (
                    ("cell.kernel", _reordered(g, wide[0], order, units)),
                    ("cell.recurrent_kernel", g.concatenate([pair, single[0]], 1)),
                    ("cell.bias", _reordered(g, g.reshape(biases[0], (3 * units,)), order, units)),
                ))  # fmt: skip
    return None


def _run_gru(
    from_input: np.ndarray, gates: np.ndarray, single: np.ndarray, order: Sequence[int],
    swapped: bool, backwards: bool, sequence: bool,
) -> np.ndarray:  # fmt: skip
    batch, steps, units = len(from_input), from_input.shape[1], len(gates)
    state, states = np.zeros((batch, units)), []
    halves = np.split(gates, 2, axis=-1)[:: -1 if swapped else 1]
    for step in reversed(range(steps)) if backwards else range(steps):
        parts = np.split(from_input[:, step], 3, axis=-1)
        z, r, h = (parts[place] for place in order)
        update, reset = _sigmoid(z + state @ halves[0]), _sigmoid(r + state @ halves[1])
        candidate = np.tanh(h + (reset * state) @ single)
        state = update * state + (1 - update) * candidate
        states.append(state)
    return np.stack(states, axis=1) if sequence else state


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _reordered(g: Graph, node: Node, order: Sequence[int], units: int) -> Node:
    """The gates of a weight in another order."""
    axis = len(node.shape) - 1
    return g.concatenate([g.slice(node, axis, place * units, units) for place in order], axis)


def _without_defaults(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items()
            if (name, value) != ("return_sequences", False)}  # fmt: skip
