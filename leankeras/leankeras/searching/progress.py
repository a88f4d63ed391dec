"""How far a search is: a line for each trial, and a status that stays in place."""

import sys
from collections import Counter
from math import isfinite
from typing import Any, TextIO

from leankeras.searching.goal import Goal, Outcome
from leankeras.searching.rounds import Clock
from leankeras.status_lines import StatusLines
from leankeras.training_progress import duration

LAST = 12  # trials that a notebook shows


class Progress:
    """Shows a search in a terminal, in a notebook, or as plain lines.

    Args:
        goal: says which trial is the best so far.
        clock: the time that is left.
        most: how many trials there may be.
        outcomes: of the trials before, by number.
        stream: where to show it; standard error by default.
    """

    def __init__(
        self,
        goal: Goal,
        clock: Clock,
        most: int,
        outcomes: dict[int, Outcome],
        stream: TextIO | None = None,
    ) -> None:
        self._goal, self._clock, self._most = goal, clock, most
        self._outcomes, self._lines = dict(outcomes), StatusLines(stream)
        self._said: list[str] = []
        self._handle = _notebook_display()

    def say(self, line: str) -> None:
        """Show a line that stays."""
        self._said.append(line)
        if self._handle is None:
            self._lines.say(line)
        self._draw()

    def trial(self, number: int, outcome: Outcome) -> None:
        """Something has been found out about a trial."""
        ended_before = _ended(self._outcomes.get(number, {}))
        self._outcomes[number] = outcome
        if _ended(outcome) and not ended_before:
            self.say(f"trial {number}: {self.in_words(outcome)}")
        else:
            self._draw()

    def close(self) -> None:
        """Remove the status."""
        self._lines.clear()

    def in_words(self, outcome: Outcome) -> str:
        """What became of a trial."""
        parts = []
        if "us" in outcome:
            parts.append(f"{outcome['us']:.3g} µs, {outcome['size_kb']:.3g} kB")
        if "lost" in outcome:
            parts.append(f"{100 * outcome['lost']:+.1f} {self._goal.merit.unit} lost")
        if "dropped" in outcome:
            reason = f" ({outcome['reason']})" if outcome.get("reason") else ""
            parts.append(f"{outcome['dropped']}{reason}")
        return ", ".join(parts)

    def status(self) -> list[str]:
        """The best so far, what was done and dropped, and the time left."""
        ended = {n: each for n, each in self._outcomes.items() if _ended(each)}
        counts = Counter(each["dropped"] for each in ended.values() if "dropped" in each)
        dropped = ", ".join(f"{count} {why}" for why, count in counts.most_common())
        trained = sum("dropped" not in each for each in ended.values())
        left = f"; {duration(max(0, self._clock.left))} left" if isfinite(self._clock.left) else ""
        limit = f" of {self._most}" if self._most < sys.maxsize else ""
        best = self._goal.finalists(ended)
        shown = f"trial {best[0]}: {self.in_words(ended[best[0]])}" if best else "none yet"
        return [
            f"{len(ended)}{limit} trials, {trained} trained in full{left}",
            f"dropped   {dropped or 'none'}",
            f"best      {shown}",
        ]

    def _draw(self) -> None:
        if self._handle is not None:
            text = "\n".join([*self._said[-LAST:], "", *self.status()])
            self._handle.update({"text/plain": text}, raw=True)
        else:
            self._lines.show(self.status())


def _ended(outcome: Outcome) -> bool:
    return "lost" in outcome or "dropped" in outcome


def _notebook_display() -> Any:
    """A display in the notebook this runs in; None elsewhere."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import DisplayHandle

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    handle = DisplayHandle()
    handle.display({"text/plain": ""}, raw=True)
    return handle
