"""Which programs are one of Keras's own layers: a row for each kind.

A layer is recognized by what the program does, and proved like any other draft. To have another
one recognized, add a function to ``KINDS``: it gets the graph, the output, the input and the old
layer's variables, and returns a :class:`.stock.Stock` or None.
"""

from collections.abc import Sequence

import keras

from leankeras.rewriting.attention import self_attention
from leankeras.rewriting.building import Graph
from leankeras.rewriting.feed_forward import convolution, dense, global_pooling, pooling
from leankeras.rewriting.node import Node, in_order
from leankeras.rewriting.recurrent import recurrence
from leankeras.rewriting.stock import Stock
from leankeras.rewriting.weights import are_trained, is_rearrangement

KINDS = (convolution, dense, pooling, global_pooling, recurrence, self_attention)


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
    for kind in KINDS:
        found = kind(graph, outputs[0], inputs[0], variables)
        if found is not None:
            nodes = [node for _, node in found.weights]
            if folded or (is_rearrangement(nodes, variables) and are_trained(nodes, variables)):
                return found
    return None
