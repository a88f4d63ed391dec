"""The loops in a layer's call."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from leankeras.diagnosis.source import LayerSource, Method
from leankeras.diagnosis.steps import Place, Position
from leankeras.diagnosis.written_loops import Scope, guess, scope_of

LOOPS = (ast.For, ast.ListComp, ast.GeneratorExp, ast.SetComp)


@dataclass(frozen=True)
class Loop:
    """A loop in a method that runs at inference.

    Args:
        path: the file.
        line: its first line.
        last: its last line.
        code: what it runs over, as written.
        over: what that seems to be; None if it does not seem to be a fault.
        outer: the loop around it.
        positions: where Python reports that it takes a step, by version.
    """

    path: str
    line: int
    last: int
    code: str
    over: str | None
    outer: "Loop | None"
    positions: frozenset[Position]

    @property
    def around(self) -> list["Loop"]:
        """The loops around it, the innermost first."""
        return [self.outer, *self.outer.around] if self.outer else []

    def includes(self, places: Iterable[Place]) -> bool:
        """Whether one of these ``(file, line)`` is in the loop."""
        return any(path == self.path and self.line <= line <= self.last for path, line in places)


def read_loops(layer: LayerSource) -> Iterator[Loop]:
    """The loops in ``call`` and in the methods it calls, outer ones first."""
    for method in layer.reached("call"):
        yield from _read_block(method.node, scope_of(layer, method), method, None)


def _read_block(node: ast.AST, scope: Scope, method: Method, outer: Loop | None) -> Iterator[Loop]:
    for child in ast.iter_child_nodes(node):
        if child in method.outside:
            continue
        loop = outer
        if isinstance(child, LOOPS):
            loop = _loop(child, scope, method, outer)
            yield loop
        yield from _read_block(child, scope, method, loop)


def _loop(node: ast.AST, scope: Scope, method: Method, outer: Loop | None) -> Loop:
    path = method.source.path
    iterables = [node.iter] if isinstance(node, ast.For) else [g.iter for g in node.generators]
    # Up to Python 3.12 a step has the position of the loop, from 3.13 on that of its iterable.
    places = [(path, part.lineno, part.col_offset) for part in (node, *iterables)]
    return Loop(
        path=path,
        line=node.lineno,
        last=node.end_lineno,
        code=", ".join(ast.unparse(iterable) for iterable in iterables),
        over=guess(node, scope, method.node),
        outer=outer,
        positions=frozenset(places),
    )
