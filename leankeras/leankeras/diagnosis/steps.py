"""The graph nodes that each step of each loop creates, recorded while the graph is traced.

``FOR_ITER`` is the instruction that takes a step of a loop, and its position in the source
identifies the loop. From Python 3.12 on ``sys.monitoring`` reports where it branches to
(https://docs.python.org/3/library/sys.monitoring.html); Python 3.11 calls a tracer before each
instruction of a frame that asks for it.
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

Place = tuple[str, int]  # file and line
Position = tuple[str, int, int]  # file, line and column

YIELD = dis.opmap["YIELD_VALUE"]


@dataclass
class Run:
    """One run of a loop: the numbers of the nodes that each of its steps created, in one graph."""

    graph: tf.Graph
    starts: list[int] = field(default_factory=list)
    end: int | None = None

    @property
    def steps(self) -> list[range]:
        """The node numbers of each step that created any."""
        ends = [*self.starts[1:], self.graph.num_operations() if self.end is None else self.end]
        steps = [range(*pair) for pair in zip(self.starts, ends, strict=True)]
        return [step for step in steps if step]

    @property
    def nodes(self) -> int:
        """The number of nodes its steps created."""
        return sum(map(len, self.steps))


@dataclass(frozen=True)
class _ForIter:
    """The instruction of a loop: its position, the offset of the loop's body, and its lines."""

    position: Position
    body: int
    lines: frozenset[int]


@dataclass
class Log:
    """A record of what ran while a graph was traced.

    Args:
        files: the user's files, whose lines are followed.
        visits: how often each of their lines ran.
        runs: the runs of each loop by the position of its ``for`` or of its iterable.
    """

    files: frozenset[str]
    visits: Counter[Place] = field(default_factory=Counter)
    runs: dict[Position, list[Run]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._open: dict[FrameType, dict[_ForIter, Run]] = defaultdict(dict)

    def ran(self, path: str, first: int, last: int) -> bool:
        """Whether any line of a statement in a file ran."""
        return any(self.visits[path, line] for line in range(first, last + 1))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Follow the user's files while this is open."""
        with _monitoring(self) if sys.version_info >= (3, 12) else _tracing(self):
            yield
        self._open.clear()

    def line(self, frame: FrameType) -> None:
        """Note that a frame reaches a line; loops it has left by ``break`` are over."""
        self.visits[frame.f_code.co_filename, frame.f_lineno] += 1
        for loop in list(self._open.get(frame, ())):
            if frame.f_lineno not in loop.lines:
                self.end(frame, loop)

    def step(self, frame: FrameType, loop: _ForIter) -> None:
        """Note that a loop takes a step."""
        graph = tf.compat.v1.get_default_graph()
        run = self._open[frame].get(loop)
        if run is None or run.graph is not graph:
            run = self._open[frame][loop] = Run(graph)
            self.runs[loop.position].append(run)
        run.starts.append(graph.num_operations())

    def end(self, frame: FrameType, loop: _ForIter) -> None:
        """Note that a loop is over."""
        run = self._open.get(frame, {}).pop(loop, None)
        if run is not None:
            run.end = run.graph.num_operations()

    def leave(self, frame: FrameType) -> None:
        """Note that a frame is left for good."""
        for loop in list(self._open.get(frame, ())):
            self.end(frame, loop)
        self._open.pop(frame, None)


@contextmanager
def _monitoring(log: Log) -> Iterator[None]:
    monitoring = sys.monitoring
    events = monitoring.events
    tool = next(number for number in range(6) if monitoring.get_tool(number) is None)

    def heard(code: CodeType) -> FrameType | None:
        return sys._getframe(2) if code.co_filename in log.files else None

    def on_line(code: CodeType, _: int) -> Any:
        frame = heard(code)
        return log.line(frame) if frame else monitoring.DISABLE

    def on_branch(code: CodeType, offset: int, goes_to: int) -> Any:
        frame, loop = heard(code), _loops(code).get(offset)
        if frame is None or loop is None:
            return monitoring.DISABLE
        return log.step(frame, loop) if goes_to == loop.body else log.end(frame, loop)

    def on_return(code: CodeType, _: int, __: Any) -> Any:
        frame = heard(code)
        return log.leave(frame) if frame else monitoring.DISABLE

    listeners = {events.LINE: on_line, events.BRANCH: on_branch, events.PY_RETURN: on_return}
    monitoring.use_tool_id(tool, "leankeras")
    try:
        for event, listener in listeners.items():
            monitoring.register_callback(tool, event, listener)
        monitoring.set_events(tool, events.LINE | events.BRANCH | events.PY_RETURN)
        monitoring.restart_events()  # those that an earlier recording disabled
        yield
    finally:
        monitoring.set_events(tool, events.NO_EVENTS)
        monitoring.free_tool_id(tool)


@contextmanager
def _tracing(log: Log) -> Iterator[None]:
    def follow(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in log.files:
            return None
        frame.f_trace_opcodes = True
        loops = _loops(frame.f_code)
        asked: _ForIter | None = None

        def listen(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal asked
            if event == "line":
                log.line(frame)
            elif event == "opcode":
                asks = loops.get(frame.f_lasti)
                if asked is not None and asks is not asked:  # the next instruction is the answer
                    going_on = frame.f_lasti == asked.body
                    log.step(frame, asked) if going_on else log.end(frame, asked)
                asked = asks
            elif event == "return" and frame.f_code.co_code[frame.f_lasti] != YIELD:
                log.leave(frame)
            return listen

        return listen

    before = sys.gettrace()  # a debugger's or a coverage tool's
    sys.settrace(follow)
    try:
        yield
    finally:
        sys.settrace(before)


@cache
def _loops(code: CodeType) -> dict[int, _ForIter]:
    """The FOR_ITER instructions by their offsets.

    In a long loop, the instruction starts with one or more EXTENDED_ARG.
    """
    found: dict[int, _ForIter] = {}
    begun: list[int] = []
    instructions = list(dis.get_instructions(code))
    for here, following in itertools.pairwise(instructions):
        begun.append(here.offset)
        if here.opname == "FOR_ITER":
            inside = [i for i in instructions if here.offset <= i.offset < here.argval]
            loop = _ForIter(
                (code.co_filename, here.positions.lineno, here.positions.col_offset),
                following.offset,
                frozenset(i.positions.lineno for i in inside),
            )
            found.update(dict.fromkeys(begun, loop))
        if here.opname != "EXTENDED_ARG":
            begun = []
    return found
