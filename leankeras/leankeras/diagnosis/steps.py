"""Which nodes of a graph each step of each loop made, recorded while the graph is traced.

Python says nothing when a loop takes its next step, but it calls a tracer before each instruction
of a frame that asks for that. ``FOR_ITER`` is the instruction that takes a step, and its position
in the source tells whose.
"""

import dis
import itertools
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FrameType
from typing import Any

import tensorflow as tf

YIELD = dis.opmap["YIELD_VALUE"]

Place = tuple[str, int]  # file and line
Position = tuple[str, int, int]  # file, line and column


@dataclass
class Run:
    """One run of a loop: the numbers of the nodes that each of its steps made, in one graph."""

    graph: tf.Graph
    starts: list[int] = field(default_factory=list)
    end: int | None = None

    @property
    def steps(self) -> list[range]:
        """The node numbers of each step that made any."""
        ends = [*self.starts[1:], self.graph.num_operations() if self.end is None else self.end]
        steps = [range(*pair) for pair in zip(self.starts, ends, strict=True)]
        return [step for step in steps if step]

    @property
    def nodes(self) -> int:
        """How many nodes its steps made."""
        return sum(map(len, self.steps))


@dataclass
class Log:
    """What ran while a graph was traced.

    Args:
        files: the user's files, whose lines are followed.
        visits: how often each line of theirs was run.
        runs: the runs of each loop by the position of its ``for`` or of what it runs over.
    """

    files: frozenset[str]
    visits: Counter[Place] = field(default_factory=Counter)
    runs: dict[Position, list[Run]] = field(default_factory=lambda: defaultdict(list))

    def ran(self, path: str, first: int, last: int) -> bool:
        """Whether a statement of a file ran, any line of it."""
        return any(self.visits[path, line] for line in range(first, last + 1))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Follow the user's files while this is open."""
        before = sys.gettrace()  # a debugger's or a coverage tool's
        sys.settrace(self._follow)
        try:
            yield
        finally:
            sys.settrace(before)

    def _follow(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in self.files:
            return None
        frame.f_trace_opcodes = True
        # A generator that goes on is called again.
        resumed = isinstance(frame.f_trace, _Follower)
        return frame.f_trace if resumed else _Follower(self, frame.f_code)


class _Follower:
    """Follows one frame: its lines, and where its loops stand."""

    def __init__(self, log: Log, code: CodeType) -> None:
        self.log = log
        self.code = code
        self.open: dict[Position, Run] = {}
        self.asked: tuple[Position, int] | None = None  # a loop, and where its step would begin

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.log.visits[self.code.co_filename, frame.f_lineno] += 1
        elif event == "opcode":
            asks = _loop_instructions(self.code).get(frame.f_lasti)
            if self.asked is not None and asks != self.asked:
                self._answer(frame.f_lasti)
            self.asked = asks
        elif event == "return" and self.code.co_code[frame.f_lasti] != YIELD:
            for position in list(self.open):
                self._close(position)
        return self

    def _answer(self, offset: int) -> None:
        """The instruction after FOR_ITER tells whether there was a step left."""
        position, body = self.asked
        if offset != body:
            self._close(position)
            return
        graph = tf.compat.v1.get_default_graph()
        run = self.open.get(position)
        if run is None or run.graph is not graph:
            run = self.open[position] = Run(graph)
            self.log.runs[position].append(run)
        run.starts.append(graph.num_operations())

    def _close(self, position: Position) -> None:
        run = self.open.pop(position, None)
        if run is not None:
            run.end = run.graph.num_operations()


@cache
def _loop_instructions(code: CodeType) -> dict[int, tuple[Position, int]]:
    """Offset of each FOR_ITER: its position, and the offset at which a step begins.

    Where the loop is long, the instruction starts with one or more EXTENDED_ARG.
    """
    found: dict[int, tuple[Position, int]] = {}
    begun: list[int] = []
    instructions = list(dis.get_instructions(code))
    for here, following in itertools.pairwise(instructions):
        begun.append(here.offset)
        if here.opname == "FOR_ITER":
            place = (code.co_filename, here.positions.lineno, here.positions.col_offset)
            found.update(dict.fromkeys(begun, (place, following.offset)))
        if here.opname != "EXTENDED_ARG":
            begun = []
    return found
