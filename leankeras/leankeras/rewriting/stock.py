"""Programs that are one of Keras's own layers, which prunes, quantizes and loses channels as usual.

A stock layer is recognized by what the program does, and proved like any other candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import keras
import numpy as np

from leankeras.rewriting.building import Graph
from leankeras.rewriting.compilation import computed
from leankeras.rewriting.node import DATA, WEIGHT, Node, in_order, size
from leankeras.rewriting.weights import choose_weights, is_rearrangement

ACTIVATIONS = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Elu": "elu",
    "Selu": "selu", "Softplus": "softplus", "Softsign": "softsign", "Exp": "exponential",
}  # fmt: skip
NEAR = 1e-4


@dataclass(frozen=True)
class Stock:
    """One of Keras's layers, and what its weights are of the old ones.

    Args:
        kind: its class in ``keras.layers``.
        arguments: of its constructor.
        weights: for each of its weights in order, the name that leads to it and what it is.
    """

    kind: str
    arguments: dict[str, Any]
    weights: tuple[tuple[str, Node], ...]

    def layer(self, name: str | None = None) -> keras.Layer:
        """A new layer, not built."""
        return getattr(keras.layers, self.kind)(**self.arguments, name=name)

    def port(self, old: keras.Layer, new: keras.Layer) -> None:
        """Set its weights from those of the old layer."""
        values = [np.asarray(variable) for variable in old.variables]
        new.set_weights([computed(node, values) for _, node in self.weights])


def recognize(
    graph: Graph, outputs: Sequence[Node], variables: Sequence[keras.Variable], folded: bool
) -> Stock | None:
    """The layer of Keras's that a program is, or None.

    Args:
        graph: of the nodes.
        outputs: of the program.
        variables: of the old layer.
        folded: whether weights may be computed from old ones, not only rearranged.
    """
    inputs = [node for node in in_order(outputs) if node.op == "input"]
    if len(outputs) != 1 or len(inputs) != 1 or inputs[0].dtype != "float32":
        return None
    for find in (_feed_forward, _global_pooling, _lstm, _gru):
        found = find(graph, outputs[0], inputs[0], variables)
        if found is None:
            continue
        nodes = [node for _, node in found.weights]
        if folded or is_rearrangement(nodes, variables):
            return found
    return None


def _bare(node: Node) -> Node:
    """A node without the reshapes that were put on it."""
    while node.op == "reshape" and node.depends == DATA:
        node = node.inputs[0]
    return node


def _feed_forward(
    g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]
) -> Stock | None:
    """A convolution, a product or pooling, with a bias and an activation or without."""
    node, activation, bias = _bare(out), None, None
    if node.op == "elementwise" and node.attributes["function"] in ACTIVATIONS:
        activation = ACTIVATIONS[node.attributes["function"]]
        node = _bare(node.inputs[0])
    if node.op == "elementwise" and node.attributes["function"] == "AddV2":
        moving = [each for each in node.inputs if each.depends == DATA]
        fixed = [each for each in node.inputs if each.depends == WEIGHT]
        if len(moving) != 1 or len(fixed) != 1:
            return None
        bias, node = fixed[0], _bare(moving[0])
    options: dict[str, Any] = {"use_bias": bias is not None}
    if activation:
        options["activation"] = activation
    if node.op == "pool" and node.inputs[0] is x and activation is None and bias is None:
        kind = "MaxPooling2D" if node.attributes["function"] == "max" else "AveragePooling2D"
        return Stock(kind, {"pool_size": node.attributes["size"]}, ())
    if node.op in ("convolution", "depthwise"):
        return _convolution(g, node, out, x, bias, options)
    if node.op == "product" and node.inputs[0] is x and node.inputs[1].depends == WEIGHT:
        return _dense(g, node, out, bias, options)
    return None


def _convolution(
    g: Graph, node: Node, out: Node, x: Node, bias: Node | None, options: dict[str, Any]
) -> Stock | None:
    image, kernel = node.inputs
    if kernel.depends != WEIGHT:
        return None
    rows, columns, channels, filters = kernel.shape
    is_row = image.shape[1] == 1 == rows and len(x.shape) == len(out.shape) == 3
    along_time = is_row and image.op == "reshape" and image.inputs[0] is x
    if not (image is x or along_time):
        return None
    dimension, shape = ("1D", (columns, channels, filters)) if along_time else ("2D", kernel.shape)
    at = node.attributes
    first = 1 if along_time else 0
    arguments: dict[str, Any] = {"kernel_size": (rows, columns)[first:]}
    if set(at["strides"][first:]) != {1}:
        arguments["strides"] = at["strides"][first:]
    if set(at["dilations"][first:]) != {1}:
        arguments["dilation_rate"] = at["dilations"][first:]
    arguments["padding"] = at["padding"].lower()
    if node.op == "depthwise":
        kind, total = f"DepthwiseConv{dimension}", channels * filters
        if filters > 1:
            arguments["depth_multiplier"] = filters
    else:
        kind, total = f"Conv{dimension}", filters
        arguments = {"filters": filters, **arguments}
        if image.shape[3] != channels:
            arguments["groups"] = image.shape[3] // channels
    if out.shape[-1] != total or (bias is not None and size(bias.shape) != total):
        return None
    if kind == "DepthwiseConv1D" and "dilation_rate" in arguments:
        return None
    arguments = {
        name: value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
        for name, value in arguments.items()
    }
    weights = [("kernel", g.reshape(kernel, shape))]
    if bias is not None:
        weights.append(("bias", g.reshape(bias, (total,))))
    return Stock(kind, {**arguments, **options}, tuple(weights))


def _dense(
    g: Graph, node: Node, out: Node, bias: Node | None, options: dict[str, Any]
) -> Stock | None:
    kernel, (left, right, result) = node.inputs[1], node.attributes["equation"]
    plain = len(right) == 2 and left[-1] == right[0] and result == left[:-1] + right[1]
    units = kernel.shape[-1]
    if not plain or out.shape != node.shape or (bias is not None and size(bias.shape) != units):
        return None
    weights = [("kernel", kernel)]
    if bias is not None:
        weights.append(("bias", g.reshape(bias, (units,))))
    return Stock("Dense", {"units": units, **options}, tuple(weights))


def _global_pooling(
    g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]
) -> Stock | None:
    """The mean or the maximum over all of time or of a picture."""
    if out.op != "reduce" or out.inputs[0] is not x:
        return None
    function = {"Mean": "Average", "Max": "Max"}.get(out.attributes["function"])
    dimension = len(x.shape) - 2
    if function is None or dimension not in (1, 2):
        return None
    if out.attributes["axes"] != tuple(range(1, 1 + dimension)):
        return None
    return Stock(f"Global{function}Pooling{dimension}D", {}, ())


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


def _lstm(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> Stock | None:
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


def _gru(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> Stock | None:
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
