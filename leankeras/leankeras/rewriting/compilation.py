"""Nodes as a program: statements in an order that keeps the turns of a recurrence together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from leankeras.rewriting.building import computed
from leankeras.rewriting.naming import new_names, weight_paths
from leankeras.rewriting.node import CONSTANT, DATA, LATE, Depths, Node, in_order, is_known
from leankeras.rewriting.program import Program, Reference, Statement, WeightSpec
from leankeras.rewriting.tracing import Trace
from leankeras.rewriting.weights import NewWeight, choose_weights

KERNELS = ("product", "convolution", "depthwise")
MANY = 4


@dataclass(frozen=True)
class Compiled:
    """What a program is made of.

    Args:
        weights: by name, what each weight of the program is of the old ones.
        specs, constants, statements, result, inputs, masks: the arguments of
            :class:`.program.Program`.
    """

    weights: dict[str, NewWeight]
    specs: tuple[WeightSpec, ...]
    constants: tuple[np.ndarray, ...]
    statements: tuple[Statement, ...]
    result: Any
    inputs: tuple[str, ...]
    masks: str

    def layer(self, name: str | None = None) -> Program:
        """A new layer that runs it."""
        return Program(
            self.specs, self.constants, self.statements, self.result, self.inputs, self.masks,
            name=name,
        )  # fmt: skip

    def port(self, old: keras.Layer, new: Program) -> None:
        """Set the program's weights from those of the old layer."""
        self.assign([np.asarray(variable) for variable in old.variables], new)

    def assign(self, values: Sequence[np.ndarray], new: Program) -> None:
        """Set the program's weights from the values of the old layer's variables."""
        for name, weight in self.weights.items():
            value = value_of(weight.node, values).reshape(weight.shape)
            new.variables_of_program[name].assign(value)


def value_of(node: Node, values: Sequence[np.ndarray]) -> np.ndarray:
    """What a node that depends on weights alone is, for these values of the old weights."""
    return computed(node, lambda weight: values[weight.attributes["index"]])


def compile_program(
    outputs: Sequence[Node],
    attributes: dict[int, dict[str, Any]],
    trace: Trace,
    masks: str,
    for_inference: bool = False,
) -> Compiled:
    """A program that computes some nodes.

    Args:
        outputs: the nodes, flat.
        attributes: by a node's number, with the batch in them (:mod:`.batch`).
        trace: of the old layer.
        masks: see :mod:`.masks`.
        for_inference: see :func:`.weights.choose_weights`.
    """
    layer = trace.callee.layer
    chosen = choose_weights(outputs, layer.variables, for_inference)
    users: dict[int, Node] = {}
    for node in in_order(outputs):
        for each in node.inputs:
            users.setdefault(each.number, node)
    roles = [_role(users.get(number)) for number in chosen]
    nodes = [weight.node for weight in chosen.values()]
    taken = [name for name in dir(keras.Layer()) if not name.startswith("__")]
    names = dict(zip(chosen, new_names(nodes, roles, weight_paths(layer), taken), strict=True))

    constants: list[np.ndarray] = []
    places: dict[int, Reference] = {}
    statements: list[Statement] = []

    def reference(node: Node) -> Reference:
        if node.number in chosen:
            return "weight", names[node.number]
        if node.op == "input":
            return "input", node.attributes["index"]
        if node.number not in places:  # a constant, met for the first time
            places[node.number] = ("constant", len(constants))
            constants.append(node.value)
        return places[node.number]

    for node in _order(outputs, set(chosen)):
        inputs = tuple(reference(each) for each in node.inputs)
        places[node.number] = ("value", len(statements))
        statements.append(Statement(node.op, inputs, attributes[node.number]))
    flat = iter([reference(node) for node in outputs])
    result = keras.tree.map_structure(lambda _: next(flat), trace.structure)
    specs = tuple(
        WeightSpec(names[number], weight.shape, weight.node.dtype, weight.trainable)
        for number, weight in chosen.items()
    )
    types = tuple(each.dtype for each in trace.inputs)
    weights = {names[number]: weight for number, weight in chosen.items()}
    return Compiled(weights, specs, tuple(constants), tuple(statements), result, types, masks)


def _order(outputs: Sequence[Node], given: set[int]) -> list[Node]:
    """The nodes to be computed: what depends on no input first, then steps in their order."""
    needed, waiting = set(), list(outputs)
    while waiting:
        node = waiting.pop()
        if node.number not in needed and node.number not in given:
            needed.add(node.number)
            waiting += node.inputs
    depth = Depths()
    users: dict[int, int] = defaultdict(int)
    for node in in_order(outputs):
        for each in node.inputs:
            users[each.number] += 1
    # What many take comes before all of them, so that their turns look alike.
    early = [
        node
        for node in in_order(outputs)
        if (node.op in ("unstack", "split") or users[node.number] >= MANY)
        and depth(node) < LATE
        and not any(each.op == "item" for each in (node, *node.inputs))
    ]
    order = in_order([*early, *outputs], key=lambda node: -depth(node))
    order = [
        node
        for node in order
        if node.number in needed and node.op not in ("input", "weight") and not _is_fixed(node)
    ]
    first = [node for node in order if node.depends < DATA or is_known(node)]
    return [*first, *(node for node in order if node.depends == DATA and not is_known(node))]


def _is_fixed(node: Node) -> bool:
    """Whether a node is written as a constant."""
    return node.op == "constant" or (node.depends == CONSTANT and not node.inputs)


def _role(user: Node | None) -> str:
    if user is None:
        return "weight"
    if user.op in KERNELS:
        return "kernel"
    return "bias" if user.attributes.get("function") == "AddV2" else "weight"
