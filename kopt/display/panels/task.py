"""Buttons that measure: one thing at a time, outside the kernel's own thread, with progress."""

import html
import threading
import time
from collections.abc import Callable, Mapping

import ipywidgets

from leankeras.errors import KoptError, one_line

Report = Callable[[str], None]
TICK_SECONDS = 0.5


class Task:
    """Buttons, a progress bar and a line of text for work that takes a while.

    The work runs in a thread, so the kernel stays responsive, and a second click has no effect even
    if the browser is late to learn that the buttons are disabled.

    Args:
        works: the function each button runs, by the button's label. It receives a function
            ``report`` and calls it with a few words at the beginning of each step.
        steps: the number of steps.
        done: what to say when the work has finished.
    """

    def __init__(self, works: Mapping[str, Callable[[Report], None]], steps: int, done: str):
        self.buttons = {label: ipywidgets.Button(description=label) for label in works}
        for label, button in self.buttons.items():
            button.layout.width = "auto"
            button.on_click(lambda _, label=label: self.start(label))
        self.bar = ipywidgets.IntProgress(
            max=steps, description="progress", layout={"width": "16em"}
        )
        self.status = ipywidgets.HTML()
        self._works = works
        self._done = done
        self._taken = threading.Lock()
        self._thread = threading.Thread()

    @property
    def line(self) -> ipywidgets.HBox:
        """Bar and text side by side."""
        return ipywidgets.HBox([self.bar, self.status])

    def start(self, label: str) -> bool:
        """Start the work of a button; False if something is running already."""
        if not self._taken.acquire(blocking=False):
            return False
        for button in self.buttons.values():
            button.disabled = True
        self.bar.value, self.bar.bar_style = 0, "info"
        self._thread = threading.Thread(target=self._run, args=(self._works[label],), daemon=True)
        self._thread.start()
        return True

    def wait(self, seconds: float) -> None:
        """Wait for the running work.

        Raises:
            TimeoutError: it is still running.
        """
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError(f"still running after {seconds:g} s: {self.status.value}")

    def _run(self, work: Callable[[Report], None]) -> None:
        progress = _Progress(self.bar, self.status)
        try:
            with progress:
                work(progress.report)
            self.bar.value, self.bar.bar_style = self.bar.max, "success"
            self.status.value = f"{self._done} in {progress.seconds:.0f} s"
        except Exception as error:
            line = html.escape(one_line(error))
            self.bar.bar_style = "danger"
            self.status.value = f'<span class="kopt-error">{line}</span>'
            if not isinstance(error, KoptError):
                raise  # a bug in kopt: its traceback belongs in the log as well
        finally:
            for button in self.buttons.values():
                button.disabled = False
            self._taken.release()


class _Progress:
    """Advances a bar with every step and counts the seconds in between."""

    def __init__(self, bar: ipywidgets.IntProgress, status: ipywidgets.HTML):
        self.seconds = 0.0
        self._bar, self._status = bar, status
        self._step = "starting"
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def report(self, step: str) -> None:
        """Begin a step."""
        self._step = step
        self._bar.value += 1
        self._say()

    def __enter__(self) -> "_Progress":
        self._began = time.monotonic()
        self._say()
        self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._ticker.join()

    def _tick(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            self._say()

    def _say(self) -> None:
        self.seconds = time.monotonic() - self._began
        self._status.value = html.escape(f"{self._step}, {self.seconds:.0f} s")
