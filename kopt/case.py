"""What is optimised: a model with a slow layer, its data, its rewrites and a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.errors import ParameterError
from kopt.scripts import run_script

if TYPE_CHECKING:  # a case's name is checked without waiting for TensorFlow
    import keras

    from kopt.data import Data
    from kopt.rewriting import Rewrite

BUILT_IN = ("signal", "vision", "stream")
TARGETS = ("LiteRT", "tf.function", "XLA")


@dataclass(frozen=True)
class Budget:
    """What the deployed model may cost.

    Args:
        latency_us: median latency of one inference in LiteRT on one thread, microseconds.
        size_kb: size of the file, kilobytes of 1000 bytes.
        accuracy_loss: accuracy that may be lost against the slow model, as a fraction (0.01 is
            one point).
    """

    latency_us: float
    size_kb: float
    accuracy_loss: float


@dataclass(frozen=True)
class Epochs:
    """Passes over the training data in each stage that trains, when nothing else is asked for."""

    profile: int
    prune: int
    distil: int
    qat: int


@dataclass(frozen=True)
class Case:
    """A model to be made fast, and everything the six notebooks need for it.

    Args:
        name: how runs and records call it.
        title: one line for headings.
        load: gives the :class:`Data`.
        build: gives the slow model, built and untrained; a Functional or Sequential Keras 3 model
            that ends in logits or probabilities.
        slow_layer: the class of the custom layer to be rewritten.
        rewrites: implementations that compute the same.
        target: the runtime that the model is made for, "LiteRT", "tf.function" or "XLA"; of the
            rewrites the fastest there is kept.
        build_teacher: gives a larger model to distil from, built and untrained.
        budget: what the result may cost.
        epochs: how long each stage trains.
    """

    name: str
    title: str
    load: Callable[[], Data] = field(repr=False)
    build: Callable[[], keras.Model] = field(repr=False)
    slow_layer: type[keras.Layer]
    rewrites: tuple[Rewrite, ...] = field(repr=False)
    build_teacher: Callable[[], keras.Model] = field(repr=False)
    budget: Budget
    epochs: Epochs
    target: str = "LiteRT"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ParameterError(f"name of a case: saw {self.name!r}; expected a word")
        if self.target not in TARGETS:
            raise ParameterError(
                f"target of {self.name}: saw {self.target!r}; expected {' or '.join(TARGETS)}"
            )


def case_name(case: str) -> str:
    """How runs call a case; of a built-in one without waiting for TensorFlow."""
    return case if case in BUILT_IN else find_case(case).name


def absolute_case(case: str) -> str:
    """The same case, to be found from any working directory."""
    path, colon, name = case.rpartition(":")
    return f"{Path(path).resolve()}{colon}{name}" if path else case


def find_case(name: str) -> Case:
    """A case by name, or out of a user's file.

    Args:
        name: "signal", "vision", "stream", or ``FILE.py:NAME`` for the :class:`Case` called NAME
            in a file. The file is run, as ``python FILE.py`` would.

    Raises:
        ParameterError: no case of that name.
        ModelError: the file is not there or fails.

    Example:
        >>> find_case("signal").budget.accuracy_loss
        0.01
    """
    if name in BUILT_IN:
        return import_module(f"kopt.cases.{name}").CASE
    path, _, attribute = name.rpartition(":")
    if not path.endswith(".py"):
        raise ParameterError(
            f"case: saw {name!r}; expected {', '.join(BUILT_IN)}, or FILE.py:NAME for your own"
        )
    case = getattr(run_script(path), attribute, None)
    if not isinstance(case, Case):
        raise ParameterError(
            f"case: {attribute!r} in {path} is {type(case).__name__}; expected a kopt.Case"
        )
    return case
