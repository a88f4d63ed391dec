"""How far a training is, told to whoever watches."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

TOLD_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training is: in which epoch of how many, at which loss, with how long to go.

    Attributes:
        epoch: the current one, from 1.
        epochs: how many there will be.
        loss: its mean over this epoch so far.
        seconds: spent so far.
        seconds_left: about how many more it will take; 0 at the end.
    """

    epoch: int
    epochs: int
    loss: float
    seconds: float
    seconds_left: float

    def __str__(self) -> str:
        if not self.seconds_left:
            ran = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
            return f"{ran} in {duration(self.seconds)}, loss {self.loss:.3g}"
        left = f"about {duration(self.seconds_left)} left"
        return f"epoch {self.epoch} of {self.epochs}, loss {self.loss:.3g}, {left}"


_watchers: list[Callable[[TrainingProgress], None]] = []


def watch_training(watcher: Callable[[TrainingProgress], None] | None) -> None:
    """Have a function called about once a second in any training from now on; None ends it.

    Example:
        >>> watch_training(print)
        >>> fit(model, data, epochs=10)
        epoch 1 of 10, loss 0.693, about 2 min left
    """
    _watchers[:] = [] if watcher is None else [watcher]


def told(framework: ModuleType, epochs: int, steps: int) -> list[Any]:
    """The callbacks that tell the watcher: one of ``framework``, or none if nobody watches.

    Args:
        framework: ``keras`` or ``tf_keras``.
        epochs: of the training.
        steps: batches in an epoch.
    """
    return [_Teller(epochs, steps).callback(framework)] if _watchers else []


class _Teller:
    def __init__(self, epochs: int, steps: int) -> None:
        self._epochs, self._steps = epochs, steps
        self._epoch = self._batches = 0
        self._loss = float("nan")
        self._started = self._first = self._last = time.monotonic()

    def callback(self, framework: ModuleType) -> Any:
        return framework.callbacks.LambdaCallback(
            on_epoch_begin=self._begin,
            on_train_batch_end=self._batch,
            on_train_end=lambda logs=None: self._tell(0.0),
        )

    def _begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1

    def _batch(self, batch: int, logs: Any = None) -> None:
        self._batches += 1
        self._loss = float(logs.get("total_loss", logs.get("loss")))  # a Distiller's own, or any
        now = time.monotonic()
        if self._batches == 1:
            self._first = now  # the first batch is traced, the others show the pace
        elif now - self._last >= TOLD_EVERY:
            self._last = now
            pace = (now - self._first) / (self._batches - 1)
            self._tell(max(pace * (self._epochs * self._steps - self._batches), 1e-3))

    def _tell(self, left: float) -> None:
        seconds = time.monotonic() - self._started
        progress = TrainingProgress(self._epoch, self._epochs, self._loss, seconds, left)
        for watcher in _watchers:
            watcher(progress)


def duration(seconds: float) -> str:
    """A duration in words: ``40 s``, ``12 min``, ``3.5 h``, ``2.1 days``."""
    for limit, size, unit in ((100, 1, "s"), (6000, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            number = seconds / size
            return f"{number:.1f} {unit}" if unit == "h" and number < 10 else f"{number:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
