"""Progress of a sweep: in a terminal as a table that stays in place, elsewhere as lines."""

import time
from threading import Lock
from typing import Any, TextIO

from kopt.execution.tree import Segment
from kopt.workspace.record import Record, summary
from leankeras.errors import one_line
from leankeras.status_lines import StatusLines


class Progress:
    """Counts what is done, running and failed, and displays every change.

    Args:
        points: the number of points.
        stream: where to display it; standard error by default.
    """

    def __init__(self, points: int, stream: TextIO | None = None):
        self._points = points
        self._lines = StatusLines(stream)
        self._started = time.monotonic()
        self._running: dict[str, str] = {}
        self._done = self._failed = 0
        self._best: tuple[tuple[int, float], str] | None = None
        self._lock = Lock()  # stages are reported from the thread of Dask's client

    def say(self, line: str) -> None:
        """Show a line that remains visible."""
        with self._lock:
            self._show(line)

    def stage(self, event: tuple[float, dict[str, Any]]) -> None:
        """A worker has started a stage, or had to run it twice; takes a Dask event."""
        told = event[1]
        with self._lock:
            if "crash" in told:
                self._show(f"{told['point']}: {told['crash']}")
            else:
                self._running[told["point"]] = told["stage"]
                self._show()

    def timing(self, point: str) -> None:
        """A finished point is being timed, with nothing else running."""
        with self._lock:
            self._running = {point: "timing"}
            self._show()

    def segment(self, segment: Segment, outcome: Any, last: bool) -> None:
        """A segment has ended.

        Args:
            segment: the segment.
            outcome: the record of its last stage, or the exception it failed with.
            last: whether this finishes its point.
        """
        with self._lock:
            self._running.pop(segment.point, None)
            if isinstance(outcome, Exception):
                self._failed += len(segment.points)
                reason = one_line(outcome)
                self._show(f"failed: {', '.join(segment.points)}: {reason}")
            elif last:
                self._done += 1
                self._keep_best(segment.point, outcome)
                self._show(f"finished: {segment.point}: {in_short(outcome)}", also_live=False)
            else:
                shared = f"{len(segment.points)} points starting with {segment.point}"
                self._show(f"done for {shared}: {', '.join(segment.stages)}", also_live=False)

    def close(self) -> None:
        """Remove the table."""
        with self._lock:
            self._lines.clear()

    def _keep_best(self, point: str, record: Record) -> None:
        missed = sum(state != "met" for state in record.within_budget.values())
        rank = (missed, record.latency["ratio"])
        if self._best is None or rank < self._best[0]:
            self._best = (rank, f"{point}: {in_short(record)}")

    def _show(self, line: str | None = None, also_live: bool = True) -> None:
        if line and (also_live or not self._lines.live):
            self._lines.say(line)
        self._lines.show(self._table())

    def _table(self) -> list[str]:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        waiting = self._points - self._done - self._failed
        counts = f"done {self._done}   failed {self._failed}   remaining {waiting}"
        running = ", ".join(f"{point} ({stage})" for point, stage in self._running.items())
        return [
            f"{counts}   {minutes}:{seconds:02}",
            f"running {len(self._running)}   {running}",
            f"best so far   {self._best[1] if self._best else '-'}",
        ]


def in_short(record: Record) -> str:
    """The outcome of a point in a few words."""
    row, merit = summary([record]).iloc[0], record.merit
    return (
        f"{row.speedup:.3g}× the speed, {merit.in_words(record.test[merit.name])}, "
        f"{row.size_kb:.3g} kB, "
        f"budget: {row.budget}"
    )
