"""A layer's call traced by TensorFlow, and taken over operation by operation as a graph of nodes.

A loop that runs a number of times that is known is written out. What cannot be known from the
graph is refused, by the name of the operation and the line of the layer's source.
"""

import inspect
import linecache
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from leankeras.equivalence import Callee
from leankeras.errors import RewriteError, one_line
from leankeras.graph import with_mask
from leankeras.rewriting import importing_arithmetic, importing_moves  # noqa: F401 (their rows)
from leankeras.rewriting.building import Graph
from leankeras.rewriting.importing import IMPORTS, kept_as_it_is
from leankeras.rewriting.node import DATA, WEIGHT, Node, is_known

MOST_TURNS = 4096
CALLING = inspect.getsourcefile(Callee)
IGNORED = {"Placeholder", "NoOp", "Assert", "_Arg", "_Retval", "Print", "PrintV2"}
SAME = {"Identity", "IdentityN", "StopGradient", "PreventGradient", "EnsureShape", "Snapshot",
        "CheckNumerics", "ReadVariableOp"}  # fmt: skip
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
LISTS = {"TensorListReserve", "EmptyTensorList"}
REASONS = {
    "PyFunc": "it calls back into Python, and what it computes there is not in the graph",
    "If": "it branches on the data",
    "While": "it loops until the data say otherwise",
    "Random": "it is random at inference",
    "Assign": "it changes a variable",
    "Shape": "a shape, an axis or an index depends on the data",
}
PARTS_OF_NAMES = {
    "PyFunc": "PyFunc", "Random": "Random", "Multinomial": "Random", "Assign": "Assign",
    "If": "If", "Case": "If", "ParseExample": "PyFunc",
}  # fmt: skip


class Trace:
    """The graph of one call.

    Args:
        callee: the layer, built.
        arrays: a batch of each input that the layer takes; what is traced is tried on them.
        batch: the size of the batch.

    Attributes:
        graph: makes nodes.
        inputs: a node for each input.
        structure: the outputs, nested as the layer returns them, with 0 for each.
        operations: how many operations of TensorFlow depend on the input.

    Raises:
        RewriteError: the layer fails, or does something that a graph does not say.
    """

    def __init__(self, callee: Callee, arrays: list[np.ndarray], batch: int) -> None:
        self.callee = callee
        self.graph = Graph(batch)
        self.operations = 0
        self.structure: Any = None
        self._batch = batch
        self.inputs = [
            self.graph.leaf("input", np.resize(array, (batch, *array.shape[1:])), DATA, index=index)
            for index, array in enumerate(arrays)
        ]
        self._weights = {
            id(variable.value.handle): self.graph.leaf("weight", _moved(variable, index), WEIGHT,
                                                        index=index)
            for index, variable in enumerate(callee.layer.variables)
        }  # fmt: skip
        self._bodies: dict[str, Any] = {}
        self._library: dict[str, Any] = {}
        self._traced: Any = None

    def outputs(self, training: bool = False, masked: bool = False) -> list[Node]:
        """The nodes of the outputs, flat. Nodes are shared by the calls of this method.

        Args:
            training: whether the layer is called as in training.
            masked: whether Keras masks are attached to the inputs.
        """
        has_steps = [len(each.shape) > 1 for each in self.inputs]
        masks = self._masks(has_steps) if masked else []

        def call(*tensors: Any) -> list[Any]:
            given = list(tensors[: len(self.inputs)])
            attached = iter(tensors[len(self.inputs) :])
            if masked:
                given = [
                    with_mask(x, next(attached)) if steps else x
                    for x, steps in zip(given, has_steps, strict=True)
                ]
            outputs = self.callee.nested(given, training=training)
            self.structure = keras.tree.map_structure(_leaf, outputs)
            return keras.tree.flatten(outputs)

        leaves = [*self.inputs, *masks]
        specs = [tf.TensorSpec(each.shape, each.dtype) for each in leaves]
        try:
            function = tf.function(call, autograph=False).get_concrete_function(*specs)
        except Exception as error:  # whatever a user's layer raises
            raise RewriteError(
                f"{self.callee.layer.name} cannot be traced: {one_line(error)}"
            ) from error
        self.operations = 0
        self._traced = function.graph
        definition = self._traced.as_graph_def()
        self._library = {each.signature.name: each for each in definition.library.function}
        nodes: dict[str, Any] = {}
        for outer, inner in function.graph.captures:
            if id(outer) in self._weights:
                nodes[inner.name] = self._weights[id(outer)]
            elif outer.dtype == tf.resource:
                nodes[inner.name] = None  # refused where it is read
            else:
                nodes[inner.name] = self.graph.constant(outer.numpy())
        nodes.update(
            (tensor.name, node) for tensor, node in zip(function.inputs, leaves, strict=False)
        )
        self._run(function.graph, nodes)
        return [nodes[tensor.name] for tensor in function.outputs]

    def _masks(self, has_steps: list[bool]) -> list[Node]:
        return [
            self.graph.leaf("input", np.indices(x.shape[:2]).sum(0) % 3 > 0, DATA, mask=index)
            for index, (x, steps) in enumerate(zip(self.inputs, has_steps, strict=True))
            if steps
        ]

    def _run(self, graph: Any, nodes: dict[str, Any]) -> None:
        for operation in graph.get_operations():
            if operation.type in IGNORED:
                continue
            for part, reason in PARTS_OF_NAMES.items():
                if part in operation.type and operation.type not in CALLS | {"StatelessIf", "If"}:
                    raise self.refusal(operation, REASONS[reason])
            self.graph.origin = operation
            made = self._take_over(operation, [nodes[each.name] for each in operation.inputs])
            outputs = made if isinstance(made, tuple) else (made,)
            for tensor, node in zip(operation.outputs, outputs, strict=True):
                nodes[tensor.name] = node

    def _take_over(self, operation: Any, inputs: list[Any]) -> Any:
        kind = operation.type
        if kind in SAME:
            if any(each is None for each in inputs):
                raise self.refusal(operation, self._unknown_variable(operation))
            return tuple(inputs) if kind == "IdentityN" else inputs[0]
        if kind in self._library:  # a function that is called by its name
            return tuple(self._call(kind, inputs))
        if kind in CALLS:
            return tuple(self._call(operation.get_attr("f").name, inputs))
        if kind in ("If", "StatelessIf"):
            if inputs[0].depends:
                raise self.refusal(operation, REASONS["If"])
            branch = "then_branch" if inputs[0].value else "else_branch"
            return tuple(self._call(operation.get_attr(branch).name, inputs[1:]))
        if kind in ("While", "StatelessWhile"):
            return self._loop(operation, inputs)
        if kind in LISTS:
            return [None] * int(self.known(operation, inputs, 1))
        if kind == "TensorListFromTensor":
            x = inputs[0]
            parts = [self.graph.slice(x, 0, place, 1) for place in range(x.shape[0])]
            return [self.graph.drop(part, 0) for part in parts]
        if kind == "TensorListGetItem":
            return inputs[0][int(self.known(operation, inputs, 1))]
        if kind == "TensorListSetItem":
            changed = list(inputs[0])
            changed[int(self.known(operation, inputs, 1))] = inputs[2]
            return changed
        if kind == "TensorListStack":
            return self.graph.stack(inputs[0], 0)
        if not all(isinstance(each, Node) for each in inputs):
            raise self.refusal(operation, "it works on a list of tensors whose length is unknown")
        self.operations += any(each.depends == DATA for each in inputs)
        rule = IMPORTS.get(kind)
        made = rule(self, operation, inputs) if rule else None
        return kept_as_it_is(self, operation, inputs) if made is None else made

    def _loop(self, operation: Any, values: list[Any]) -> tuple[Any, ...]:
        condition, body = (operation.get_attr(part).name for part in ("cond", "body"))
        for _ in range(MOST_TURNS):
            goes_on = self._call(condition, values)[0]
            if not is_known(goes_on):
                raise self.refusal(operation, REASONS["While"])
            if not goes_on.value.any():
                return tuple(values)
            values = self._call(body, values)
        raise self.refusal(operation, f"it loops more than {MOST_TURNS} times")

    @staticmethod
    def _unknown_variable(operation: Any) -> str:
        if any("Random" in each.type for each in operation.graph.get_operations()):
            return REASONS["Random"]
        return "it reads a tf.Variable that is no weight of the layer; make it with add_weight"

    def _call(self, name: str, inputs: list[Any]) -> list[Any]:
        if name not in self._bodies:
            try:
                with self._traced.as_default():
                    self._bodies[name] = function_def_to_graph(
                        self._library[name], include_library_functions=True
                    )
            except RuntimeError as error:
                raise RewriteError(
                    f"{self.callee.layer.name}: a branch or a loop cannot be read: "
                    f"{one_line(error)}"
                ) from error
        body = self._bodies[name]
        nodes = {tensor.name: node for tensor, node in zip(body.inputs, inputs, strict=True)}
        self._run(body, nodes)
        return [nodes[tensor.name] for tensor in body.outputs]

    def known(self, operation: Any, inputs: list[Any], place: int) -> np.ndarray:
        """The value of an input that says what shape, axis or index is meant."""
        if not is_known(inputs[place]):
            raise self.refusal(operation, REASONS["Shape"])
        return inputs[place].value

    def refusal(self, operation: Any, reason: str) -> RewriteError:
        """The error that says which operation stands in the way, and where it is written."""
        place = source_line(operation, type(self.callee.layer))
        return RewriteError(
            f"{self.callee.layer.name}: {operation.type}{f' at {place}' if place else ''}: {reason}"
        )


def source_line(operation: Any, layer_type: type) -> str:
    """Where the user's code makes an operation, such as ``line 12, `x = tf.abs(x)```, or ""."""
    frames = list(getattr(operation, "traceback", None) or [])
    # The file of the layer may also be the script that calls rewrite: only what comes after counts.
    traced = [number for number, frame in enumerate(frames) if frame.filename == CALLING]
    frames = frames[traced[-1] + 1 :] if traced else frames
    try:
        own = inspect.getsourcefile(layer_type)
    except TypeError:  # made in a notebook or at the prompt
        own = None
    for frame in reversed(frames):
        if frame.filename == own:
            text = (frame.line or linecache.getline(frame.filename, frame.lineno)).strip()
            return f"line {frame.lineno}, `{text}`"
    return ""


def _leaf(output: Any) -> int:
    if output is None:
        raise RewriteError("it returns None beside its outputs")
    return 0


def _moved(variable: keras.Variable, index: int) -> np.ndarray:
    """A weight's value, moved: fresh biases are zero, and equal weights look like one."""
    value = np.asarray(variable)
    if value.dtype.kind != "f" or not variable.trainable:
        return value
    noise = np.random.default_rng(index).normal(size=value.shape)
    return (value + 0.2 * noise).astype(value.dtype)
