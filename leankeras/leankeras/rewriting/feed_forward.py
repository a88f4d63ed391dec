"""Programs that are a convolution, a product or pooling, with bias and activation or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters
from typing import Any

import keras

from leankeras.rewriting.building import Graph
from leankeras.rewriting.node import CONSTANT, DATA, WEIGHT, Node, size
from leankeras.rewriting.stock import Stock

KINDS_OF_POOLING = {"Mean": "Average", "Max": "Max"}
ACTIVATIONS = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Elu": "elu",
    "Selu": "selu", "Softplus": "softplus", "Softsign": "softsign", "Exp": "exponential",
}  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """What a layer is put together from: activation(node + bias)."""

    node: Node
    bias: Node | None
    activation: str | None

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of a layer for its bias and activation."""
        options: dict[str, Any] = {"use_bias": self.bias is not None}
        return {**options, "activation": self.activation} if self.activation else options


def _bare(node: Node) -> Node:
    """A node without the reshapes that were put on it."""
    while node.op == "reshape" and node.depends == DATA:
        node = node.inputs[0]
    return node


def _parts(out: Node) -> Parts | None:
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
    return Parts(node, bias, activation)


def pooling(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> Stock | None:
    """The largest or the mean of windows side by side."""
    if out.op == "reduce" and len(x.shape) == 3 and out.inputs[0].op == "reshape":
        kind, windows = KINDS_OF_POOLING.get(out.attributes["function"]), out.inputs[0]
        by_time = len(windows.shape) == 4 and windows.shape[3] == x.shape[2]
        if kind and by_time and windows.inputs[0] is x and out.attributes["axes"] == (2,):
            return Stock(f"{kind}Pooling1D", {"pool_size": windows.shape[2]}, ())
        return None
    if out.op != "pool" or out.inputs[0] is not x:
        return None
    kind = "MaxPooling2D" if out.attributes["function"] == "max" else "AveragePooling2D"
    return Stock(kind, {"pool_size": out.attributes["size"]}, ())


def _undivided(out: Node) -> tuple[Node, float]:
    """A node without a number by which it is divided, and that number."""
    if out.op == "elementwise" and out.attributes["function"] in ("Mul", "RealDiv"):
        x, number = out.inputs
        if number.depends == CONSTANT and number.value.size == 1:
            value = float(number.value.item())
            divides = out.attributes["function"] == "RealDiv"
            return x, round(value if divides else 1 / value, 3) if value else 0.0
    return out, 1


def global_pooling(
    g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]
) -> Stock | None:
    """The mean or the maximum over all of time or of a picture."""
    out, divisor = _undivided(out)
    if out.op != "reduce" or out.inputs[0] is not x:
        return None
    dimension, function = len(x.shape) - 2, KINDS_OF_POOLING.get(out.attributes["function"])
    if out.attributes["function"] == "Sum" and divisor == size(x.shape[1:-1]):
        function, divisor = "Average", 1
    if divisor != 1:
        return None
    if function is None or dimension not in (1, 2):
        return None
    if out.attributes["axes"] != tuple(range(1, 1 + dimension)):
        return None
    return Stock(f"Global{function}Pooling{dimension}D", {}, ())


def convolution(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> Stock | None:
    """Of a picture, or along time, which is a picture of one row; by channel or in groups."""
    parts = _parts(out)
    if parts is None or parts.node.op not in ("convolution", "depthwise"):
        return None
    node, bias = parts.node, parts.bias
    image, kernel = node.inputs
    if kernel.depends != WEIGHT:
        return None
    rows, columns, channels, filters = kernel.shape
    is_row = image.shape[1] == 1 == rows and len(x.shape) == len(out.shape) == 3
    along_time = is_row and image.op == "reshape" and image.inputs[0] is x
    if not (image is x or along_time):
        return None
    dimension, shape = ("1D", (columns, channels, filters)) if along_time else ("2D", kernel.shape)
    at, first = node.attributes, 1 if along_time else 0
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
    arguments = {
        name: value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
        for name, value in arguments.items()
    }
    weights = [("kernel", g.reshape(kernel, shape)), *_bias(g, bias, (total,))]
    return Stock(kind, {**arguments, **parts.options}, tuple(weights))


def dense(g: Graph, out: Node, x: Node, variables: Sequence[keras.Variable]) -> Stock | None:
    """A product along the last axis; one that gives several axes is an EinsumDense."""
    parts = _parts(out)
    if parts is None or parts.node.op != "product" or parts.node.inputs[0] is not x:
        return None
    node, bias, kernel = parts.node, parts.bias, parts.node.inputs[1]
    left, right, result = node.attributes["equation"]
    plain = len(right) == 2 and left[-1] == right[0] and result == left[:-1] + right[1]
    if kernel.depends != WEIGHT or not plain:
        return None
    units, rows = kernel.shape[-1], len(left) - 1
    if bias is not None and size(bias.shape) != units:
        return None
    if out.shape == node.shape:
        weights = [("kernel", kernel), *_bias(g, bias, (units,))]
        return Stock("Dense", {"units": units, **parts.options}, tuple(weights))
    tail = out.shape[rows:]
    if out.shape[:rows] != node.shape[:-1] or size(tail) != units:
        return None
    letters = ascii_letters[: rows + 1 + len(tail)]
    kept, summed, given = letters[:rows], letters[rows], letters[rows + 1 :]
    arguments: dict[str, Any] = {
        "equation": f"{kept}{summed},{summed}{given}->{kept}{given}",
        "output_shape": out.shape[1:],
    }
    if bias is not None:
        arguments["bias_axes"] = given
    if parts.activation:
        arguments["activation"] = parts.activation
    weights = [("kernel", g.reshape(kernel, (kernel.shape[0], *tail))), *_bias(g, bias, tail)]
    return Stock("EinsumDense", arguments, tuple(weights))


def _bias(g: Graph, bias: Node | None, shape: tuple[int, ...]) -> list[tuple[str, Node]]:
    return [] if bias is None else [("bias", g.reshape(bias, shape))]
