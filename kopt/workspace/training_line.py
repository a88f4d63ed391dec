"""A line below a cell that trains: epoch, loss and time left, also for the run that waits."""

import threading

from IPython import get_ipython
from IPython.display import DisplayHandle, display

from leankeras.training_progress import TrainingProgress

# metadata of outputs by which a run knows what to show in its terminal
PROGRESS, NEWS = "kopt_progress", "kopt_news"

_lines: dict[int, DisplayHandle] = {}  # by the number of the cell


def show_training(progress: TrainingProgress) -> None:
    """Show how far a training is: one line in each cell, which changes."""
    shell = get_ipython()
    if shell is None or threading.current_thread() is not threading.main_thread():
        return  # no notebook, or a panel, which has a bar of its own
    begun = shell.execution_count in _lines
    line = _lines.setdefault(shell.execution_count, DisplayHandle())
    text = str(progress)
    show = line.update if begun else line.display
    show({"text/plain": text}, raw=True, metadata={PROGRESS: text})


def say(text: str) -> None:
    """Show a text in the notebook, and in the terminal of a run."""
    display({"text/plain": text}, raw=True, metadata={NEWS: text})
