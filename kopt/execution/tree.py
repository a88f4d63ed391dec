"""What the points of a sweep share: stages with the same parameters are computed once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kopt.execution.grid import Point


@dataclass(frozen=True)
class Segment:
    """Consecutive stages shared by one or several points.

    It is computed in the run directory of the first of these points; the others copy the result
    and continue in their own directories.

    Attributes:
        points: the names of the points that share it.
        parameters: the parameters of the first point; for these stages, all points agree.
        stages: the stages to run.
        before: the stages that come before.
        origin: the point in whose directory those were computed; None if there are none.
    """

    points: tuple[str, ...]
    parameters: dict[str, Any] = field(repr=False)
    stages: tuple[str, ...]
    before: tuple[str, ...] = ()
    origin: str | None = None

    @property
    def point(self) -> str:
        """The point in whose directory it is computed."""
        return self.points[0]


def share(points: tuple[Point, ...], knobs: Mapping[str, set[str]]) -> list[Segment]:
    """Cut the stages of all points into segments, each listed before those that continue it.

    Args:
        points: the points of the grid, all different.
        knobs: the stages in order, each with its parameters.

    Example:
        >>> points = (Point("1", {"alpha": 0.1}), Point("2", {"alpha": 0.5}))
        >>> for segment in share(points, {"01": set(), "02": {"alpha"}}):
        ...     print(segment.points, segment.stages, segment.origin)
        ('1', '2') ('01',) None
        ('1',) ('02',) 1
        ('2',) ('02',) 1
    """
    stages = tuple(knobs)
    segments: list[Segment] = []

    def cut(points: list[Point], start: int, origin: str | None) -> None:
        for group in _alike(points, knobs[stages[start]]):
            end = start + 1
            while end < len(stages) and len(_alike(group, knobs[stages[end]])) == 1:
                end += 1
            segment = Segment(
                points=tuple(point.name for point in group),
                parameters=group[0].parameters,
                stages=stages[start:end],
                before=stages[:start],
                origin=origin,
            )
            segments.append(segment)
            if end < len(stages):
                cut(group, end, segment.point)

    cut(list(points), 0, None)
    return segments


def _alike(points: list[Point], names: set[str]) -> list[list[Point]]:
    """Points grouped by equal values of these parameters."""
    groups: dict[tuple, list[Point]] = {}
    for point in points:
        values = tuple(point.parameters.get(name) for name in sorted(names))
        groups.setdefault(values, []).append(point)
    return list(groups.values())
