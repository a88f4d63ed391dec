"""A few lines of a terminal that stay in place, below those that are said once."""

import shutil
import sys
from typing import TextIO

UP_AND_CLEAR = "\x1b[{lines}F\x1b[J"


class StatusLines:
    """Lines in place, if the stream is a terminal; elsewhere only what is said.

    Args:
        stream: where to show them; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self._drawn = 0

    def say(self, line: str) -> None:
        """Show a line that stays; what was shown in place is removed."""
        self.clear()
        print(line, file=self.stream, flush=True)

    def show(self, lines: list[str]) -> None:
        """Show lines in place of those before."""
        self.clear()
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(*(line[:width] for line in lines), sep="\n", file=self.stream, flush=True)
            self._drawn = len(lines)

    def clear(self) -> None:
        """Remove the lines in place."""
        if self._drawn:
            print(UP_AND_CLEAR.format(lines=self._drawn), end="", file=self.stream, flush=True)
            self._drawn = 0
