"""The layers that a layer could become: traced once, merged in each layout, without doubles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np

from leankeras.equivalence import Callee
from leankeras.errors import RewriteError
from leankeras.graph import flat_layers
from leankeras.rewriting.batch import batch_sizes, with_batch
from leankeras.rewriting.compilation import Compiled, compile_program
from leankeras.rewriting.masks import fate_in, fate_of_masks
from leankeras.rewriting.naming import weight_paths
from leankeras.rewriting.node import Node, cost, count_operations, digest, in_order
from leankeras.rewriting.optimization import optimize
from leankeras.rewriting.passes import Journal, Layout
from leankeras.rewriting.program import REJECTED
from leankeras.rewriting.recognition import recognize
from leankeras.rewriting.stock import Stock
from leankeras.rewriting.tracing import Trace, source_line

LAYOUTS = (
    Layout(),
    Layout(products=False),
    Layout(front=True),
    Layout(last=True),
    Layout(widest=0),
    Layout(widest=1 << 30),
)
MAY_BE_SLOWER = ("SimpleRNN", "LSTM", "GRU", "MultiHeadAttention")  # than a program
LARGE, VERY_LARGE = 400, 1200  # operations from which fewer layouts are tried


@dataclass(frozen=True)
class Draft:
    """One layer that computes the same, not proved yet.

    Args:
        name: in tables.
        made: makes and ports it.
        journal: how it came about.
        nodes: operations of the layer's graph that depend on the input, before and after.
        without_masks: whether it computes the same only if no input has a Keras mask.
    """

    name: str
    made: Compiled | Stock
    journal: Journal = field(repr=False)
    nodes: tuple[int, int]
    without_masks: bool = False


@dataclass(frozen=True)
class Merged:
    """What a layout makes of a layer.

    Args:
        layout: its number.
        outputs: of the merged graph.
        attributes: of its nodes, with the batch in them (:mod:`.batch`).
        journal: how it came about.
    """

    layout: int
    outputs: tuple[Node, ...]
    attributes: dict[int, dict[str, Any]] = field(repr=False)
    journal: Journal = field(repr=False)


class Drafts:
    """Traces a layer and makes drafts of it.

    Args:
        callee: the built layer.
        arrays: one for each input, of the types it takes.
        for_inference: whether only inference has to be the same.
        masked: whether inputs may have a Keras mask, so that no draft may treat one otherwise.
        say: is told how far it is.

    Attributes:
        journal: of the first layout, with what could not be merged.
        for_inference: as given.
        masks: see :mod:`.masks`.
        outputs: of the layer as it is.
        operations: how many of TensorFlow's there are.

    Raises:
        RewriteError: the layer cannot be traced.
    """

    def __init__(
        self,
        callee: Callee,
        arrays: list[np.ndarray],
        for_inference: bool = False,
        masked: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.callee = callee
        self.journal = Journal()
        self.for_inference = for_inference
        self._masked = masked
        self._say = say
        shapes = [array.shape[1:] for array in arrays]
        shapes += [variable.shape for variable in callee.layer.variables]
        self._sizes = batch_sizes(shapes)
        self._traces = [Trace(callee, arrays, size) for size in self._sizes]
        self._outputs = [trace.outputs() for trace in self._traces]
        self.outputs = self._outputs[0]
        self._has_steps = any(array.ndim > 2 for array in arrays)
        self.operations = self._traces[0].operations
        self.masks = fate_of_masks(self._traces[0], self._outputs[0])
        say(f"traced {self.operations} operations")

    def make(self) -> list[Draft]:
        """The drafts that save something, without doubles; a stock layer first.

        Raises:
            RewriteError: nothing is saved, and why not; or the layer behaves differently in
                training, or depends on the size of the batch.
        """
        found: dict[str, Draft] = {}
        for merged in self.merged():
            self._add(found, merged)
        if not found:
            raise RewriteError(self._nothing())
        return list(found.values())

    def signature(self) -> Any:
        """The same for layers of one class that compute the same with other weights."""
        layer = self.callee.layer
        weights = [(tuple(v.shape), v.dtype, v.trainable) for v in layer.variables]
        structure = str(self._traces[0].structure)
        return (
            type(layer), str(weights), str(weight_paths(layer)), structure, self.masks,
            self._masked, str(self.callee.input_shape), digest(self.outputs), self._in_training,
        )  # fmt: skip

    def merged(self) -> Iterator[Merged]:
        """What each layout makes of the layer, where that saves something.

        Raises:
            RewriteError: it behaves differently in training, or depends on the size of the batch.
        """
        before = self.outputs
        count, batch = count_operations(before), self._traces[0].graph.batch
        for number, layout in enumerate(LAYOUTS):
            if number and (count > VERY_LARGE or (count > LARGE and number > 1)):
                break
            self._say(f"merging: layout {number + 1} of {len(LAYOUTS)}")
            journal = Journal()
            programs = [
                optimize(trace.graph, outputs, layout, journal if place == 0 else Journal())
                for place, (trace, outputs) in enumerate(
                    zip(self._traces, self._outputs, strict=True)
                )
            ]
            if not number:
                self.journal = journal
            saved = cost(before, batch) - cost(programs[0], batch)
            if not journal.merged:  # then a split has only taken the place of its parts
                saved -= sum(node.op == "item" for node in in_order(programs[0]))
            if saved < 0.5:
                continue
            if self._in_training:
                raise RewriteError(
                    f"{self.callee.layer.name} behaves differently in training "
                    f"({self._in_training}); rewrite(layer, for_inference=True) rewrites what it "
                    "does at inference"
                )
            try:
                attributes = with_batch(*programs, self._sizes)
            except RewriteError as error:
                raise RewriteError(f"{self.callee.layer.name}: {error}") from error
            yield Merged(number, tuple(programs[0]), attributes, journal)

    def _add(self, found: dict[str, Draft], merged: Merged) -> None:
        trace, variables = self._traces[0], self.callee.layer.variables
        nodes = (count_operations(self.outputs), count_operations(merged.outputs))
        stock = recognize(trace.graph, merged.outputs, variables, folded=self.for_inference)
        if stock is not None and self.masks != REJECTED:
            differs = self._has_steps and fate_in(stock.layer()) != self.masks
            if not (differs and self._masked):
                key = f"{stock.kind} {stock.arguments}"
                draft = Draft(stock.kind, stock, merged.journal, nodes, without_masks=differs)
                found.setdefault(key, draft)
                if stock.kind not in MAY_BE_SLOWER:
                    return
        compiled = compile_program(
            merged.outputs, merged.attributes, trace, self.masks, self.for_inference
        )
        name = "program" if merged.layout == 0 else f"program {merged.layout + 1}"
        key = str((compiled.statements, compiled.specs))
        rejects = self.masks == REJECTED
        found.setdefault(key, Draft(name, compiled, merged.journal, nodes, rejects))

    @property
    def whole_numbers(self) -> list[str]:
        """The types of the inputs, if one of them is not a float, which a proof would try first."""
        types = [each.dtype for each in self._traces[0].inputs]
        return [] if all("float" in each for each in types) else types

    @cached_property
    def _in_training(self) -> str:
        """Why it is rewritten for inference only; "" if it does the same in training."""
        if self.for_inference:
            return ""
        variables = self.callee.layer.variables
        for name in ("regularizer", "constraint"):
            if any(getattr(variable, name, None) for variable in variables):
                return f"a weight has a {name}"
        layer = self.callee.layer
        same, reason = True, "it computes something else with training=True"
        if any("training" in signature(each.call).parameters for each in flat_layers(layer)):
            try:
                same = self._traces[0].outputs(training=True) == self.outputs
            except RewriteError as error:
                same, reason = False, str(error).partition(": ")[2] or str(error)
        if not same:
            return reason
        return "it adds to the loss" if layer.losses else ""  # in the trace before

    def _nothing(self) -> str:
        """Why nothing is saved, in a line."""
        line = f"{self.callee.layer.name}: nothing to gain"
        failures = self.journal.failures()
        if not failures:
            return f"{line}, no part of it is done again and again"
        difference, layer_type = failures[0].explained(), type(self.callee.layer)
        place = source_line(difference.node.origin, layer_type) or source_line(
            failures[0].node.origin, layer_type
        )
        at = f" at {place}" if place else ""
        return f"{line}; {len(failures[0].turns)} turns cannot be merged{at}: {difference}"
