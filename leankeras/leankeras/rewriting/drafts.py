"""The layers that a layer could become: traced once, merged in each layout, without doubles."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from leankeras.equivalence import Callee
from leankeras.errors import RewriteError
from leankeras.rewriting.batch import batch_sizes, with_batch
from leankeras.rewriting.compilation import Compiled, compile_program
from leankeras.rewriting.masks import fate_of_masks
from leankeras.rewriting.node import Node, cost, count_operations, in_order
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
MAY_BE_SLOWER = ("LSTM", "GRU", "MultiHeadAttention")  # than a program
LARGE, VERY_LARGE = 400, 1200  # operations from which fewer layouts are tried


def check_training(trace: Trace, outputs: list[Node]) -> None:
    """Refuse a layer that computes something else in training.

    Args:
        trace: of the layer.
        outputs: of the layer, traced at inference.

    Raises:
        RewriteError: it does, and why.
    """
    try:
        same = trace.outputs(training=True) == outputs
        reason = "it computes something else with training=True"
    except RewriteError as error:
        same, reason = False, str(error).partition(": ")[2] or str(error)
    if not same:
        raise RewriteError(
            f"{trace.callee.layer.name} behaves differently in training ({reason}); "
            "rewrite(layer, for_inference=True) rewrites what it does at inference"
        )


@dataclass(frozen=True)
class Draft:
    """One layer that computes the same, not proved yet.

    Args:
        name: in tables.
        made: makes and ports it.
        journal: how it came about.
        nodes: operations of the layer's graph that depend on the input, before and after.
    """

    name: str
    made: Compiled | Stock
    journal: Journal = field(repr=False)
    nodes: tuple[int, int]


class Drafts:
    """Traces a layer and makes drafts of it.

    Args:
        callee: the built layer.
        arrays: one for each input, of the types it takes.
        for_inference: whether only inference has to be the same.
        say: is told how far it is.

    Attributes:
        journal: of the first layout, with what could not be merged.
        masks: see :mod:`.masks`.

    Raises:
        RewriteError: the layer cannot be traced.
    """

    def __init__(
        self,
        callee: Callee,
        arrays: list[np.ndarray],
        for_inference: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.callee = callee
        self.journal = Journal()
        self._for_inference = for_inference
        self._say = say
        shapes = [array.shape[1:] for array in arrays]
        shapes += [variable.shape for variable in callee.layer.variables]
        self._sizes = batch_sizes(shapes)
        self._traces = [Trace(callee, arrays, size) for size in self._sizes]
        self._outputs = [trace.outputs() for trace in self._traces]
        self.operations = self._traces[0].operations
        self.masks = fate_of_masks(self._traces[0], self._outputs[0])
        say(f"traced {self.operations} operations")

    def make(self) -> list[Draft]:
        """The drafts that save something, without doubles; a stock layer first.

        Raises:
            RewriteError: nothing is saved, and why not; or the layer behaves differently in
                training.
        """
        found: dict[str, Draft] = {}
        before = count_operations(self._outputs[0])
        small = self._traces[0].graph.batch
        for number, layout in enumerate(LAYOUTS):
            if number and (before > VERY_LARGE or (before > LARGE and number > 1)):
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
            saved = cost(self._outputs[0], small) - cost(programs[0], small)
            if not journal.merged:  # then a split has only taken the place of its parts
                saved -= sum(node.op == "item" for node in in_order(programs[0]))
            if saved < 0.5:
                continue
            self._add(found, programs, journal, number, before)
        if not found:
            raise RewriteError(self._nothing())
        if not self._for_inference:
            check_training(self._traces[0], self._outputs[0])
        return list(found.values())

    def _add(
        self, found: dict[str, Draft], programs: list[list[Node]], journal: Journal, number: int,
        before: int,
    ) -> None:  # fmt: skip
        layer, after = self.callee.layer, tuple(programs[0])
        nodes = (before, count_operations(after))
        stock = recognize(self._traces[0].graph, after, layer.variables, folded=self._for_inference)
        if stock is not None and self.masks != REJECTED:
            key = f"{stock.kind} {stock.arguments}"
            found.setdefault(key, Draft(stock.kind, stock, journal, nodes))
            if stock.kind not in MAY_BE_SLOWER:
                return
        try:
            attributes = with_batch(*programs, self._sizes)
        except RewriteError as error:
            raise RewriteError(f"{layer.name}: {error}") from error
        compiled = compile_program(
            after, attributes, self._traces[0], self.masks, self._for_inference
        )
        name = "program" if number == 0 else f"program {number + 1}"
        key = str((compiled.statements, compiled.specs))
        found.setdefault(key, Draft(name, compiled, journal, nodes))

    def _nothing(self) -> str:
        """Why nothing is saved, in a line."""
        line = f"{self.callee.layer.name}: nothing to gain"
        failures = sorted(self.journal.failed, key=lambda failure: -failure[0])
        if not failures:
            return f"{line}, no part of it is done again and again"
        count, node, difference = failures[0]
        place = source_line(difference.node.origin, type(self.callee.layer)) or source_line(
            node.origin, type(self.callee.layer)
        )
        at = f" at {place}" if place else ""
        return f"{line}; {count} turns cannot be merged{at}: {difference}"
