"""A case to optimise: a model with a slow layer, its data, hand-written rewrites and a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from leankeras.budget import Budget
from leankeras.errors import ParameterError

if TYPE_CHECKING:  # case names are checked without waiting for TensorFlow
    import keras

    from leankeras.data import Data
    from leankeras.rewriting import Rewrite

TARGETS = ("LiteRT", "tf.function", "XLA")


@dataclass(frozen=True)
class Epochs:
    """Default number of passes over the training data in each stage that trains.

    ``profile=0`` means that the model is already trained and is left as it is.
    """

    profile: int
    prune: int
    distil: int
    qat: int

    def __post_init__(self) -> None:
        for name, epochs in vars(self).items():
            least = 0 if name == "profile" else 1
            if not isinstance(epochs, int) or epochs < least:
                raise ParameterError(
                    f"epochs of {name}: saw {epochs!r}; expected an integer of at least {least}"
                )


@dataclass(frozen=True)
class Case:
    """A model to be made fast, and everything the notebooks need for it.

    Args:
        name: the name that runs and records use.
        title: one line for headings.
        load: returns the :class:`Data`.
        build: returns the slow model, built: a Functional or Sequential Keras 3 model.
        epochs: how long each stage trains.
        budget: what the result may cost.
        slow_layer: the class of the custom layer to be rewritten, if there is one.
        rewrites: equivalent implementations of that layer, written by hand; what
            :func:`leankeras.rewrite` finds is tried beside them.
        build_teacher: returns a larger model to distil from, built but untrained; without one,
            the model teaches its own pruned version.
        target: the runtime the model is meant for, "LiteRT", "tf.function" or "XLA"; the rewrite
            that is fastest there is kept.
        remark: a function of the outputs and labels of the test part that says, in a few words,
            what the score leaves out.
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
    remark: Callable[[Any, Any], str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name in ("", ".", "..") or "/" in self.name:
            raise ParameterError(f"name of a case: saw {self.name!r}; expected a directory name")
        for name, expected in (("epochs", Epochs), ("budget", Budget)):
            if not isinstance(getattr(self, name), expected):
                raise ParameterError(
                    f"{name} of {self.name}: saw {getattr(self, name)!r}; expected a "
                    f"kopt.{expected.__name__}"
                )
        for name in ("load", "build"):
            if not callable(getattr(self, name)):
                raise ParameterError(
                    f"{name} of {self.name}: saw a {type(getattr(self, name)).__name__}; expected "
                    "a function of no arguments"
                )
        if self.target not in TARGETS:
            raise ParameterError(
                f"target of {self.name}: saw {self.target!r}; expected {' or '.join(TARGETS)}"
            )
