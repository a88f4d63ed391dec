"""What is optimised: a model with a slow layer, its data, its rewrites and a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.budget import Budget
from kopt.errors import ParameterError
from kopt.scripts import run_script

if TYPE_CHECKING:  # a case's name is checked without waiting for TensorFlow
    import keras

    from kopt.data import Data
    from kopt.rewriting import Rewrite

BUILT_IN = ("signal", "vision", "stream")
TARGETS = ("LiteRT", "tf.function", "XLA")


@dataclass(frozen=True)
class Epochs:
    """Passes over the training data in each stage that trains, when nothing else is asked for.

    ``profile=0`` means that the model comes trained and stays as it is.
    """

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
        build: gives the slow model, built; a Functional or Sequential Keras 3 model that ends in
            logits or probabilities.
        epochs: how long each stage trains.
        budget: what the result may cost.
        slow_layer: the class of the custom layer to be rewritten, where there is one.
        rewrites: implementations of it that compute the same; without any the model goes on as
            it is.
        build_teacher: gives a larger model to distil from, built and untrained; without one the
            model teaches its own pruned self.
        target: the runtime that the model is made for, "LiteRT", "tf.function" or "XLA"; of the
            rewrites the fastest there is kept.
    """

    name: str
    title: str
    load: Callable[[], Data] = field(repr=False)
    build: Callable[[], keras.Model] = field(repr=False)
    epochs: Epochs
    budget: Budget = field(default_factory=Budget)
    slow_layer: type[keras.Layer] | None = None
    rewrites: tuple[Rewrite, ...] = field(default=(), repr=False)
    build_teacher: Callable[[], keras.Model] | None = field(default=None, repr=False)
    target: str = "LiteRT"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ParameterError(f"name of a case: saw {self.name!r}; expected a word")
        if self.target not in TARGETS:
            raise ParameterError(
                f"target of {self.name}: saw {self.target!r}; expected {' or '.join(TARGETS)}"
            )


def case_files(case: str) -> list[Path]:
    """The user's files that a case is read from; none for a built-in one."""
    model, trained, data = case.partition(".keras:")
    if trained:
        return [Path(f"{model}.keras"), Path(data)]
    script, own, _ = case.rpartition(".py:")
    return [Path(f"{script}.py")] if own else []


def case_name(case: str) -> str:
    """How runs call a case; of a built-in one without waiting for TensorFlow."""
    return case if case in BUILT_IN else find_case(case).name


def absolute_case(case: str) -> str:
    """The same case, to be found from any working directory."""
    files = [str(path.resolve()) for path in case_files(case)]
    if len(files) == 1:
        files.append(case.rpartition(":")[2])
    return ":".join(files) or case


def find_case(name: str) -> Case:
    """A case by name, or out of a user's files.

    Args:
        name: "signal", "vision", "stream"; ``FILE.py:NAME`` for the :class:`Case` called NAME in
            a file, which is run, as ``python FILE.py`` would; or ``MODEL.keras:DATA.npz`` for a
            trained model and its :class:`Data`.

    Raises:
        ParameterError: no case of that name.
        ModelError: the file is not there or fails, or the model does not fit the data.
        DataError: the data cannot be used.

    Example:
        >>> find_case("signal").budget.accuracy_loss
        0.01
    """
    if name in BUILT_IN:
        return import_module(f"kopt.cases.{name}").CASE
    files = case_files(name)
    if not files:
        raise ParameterError(
            f"case: saw {name!r}; expected {', '.join(BUILT_IN)}, FILE.py:NAME, or "
            "MODEL.keras:DATA.npz"
        )
    if len(files) == 2:
        return import_module("kopt.cases.trained").trained_case(*files)
    path, attribute = files[0], name.rpartition(":")[2]
    case = getattr(run_script(path), attribute, None)
    if not isinstance(case, Case):
        raise ParameterError(
            f"case: {attribute!r} in {path} is {type(case).__name__}; expected a kopt.Case"
        )
    return case
