"""Layers from public code: how each is made and tried, and what a person would say about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class Public:
    """A layer with the structure and the faults of one in public code, written anew.

    Args:
        source: the repository, and the layer in it.
        make: makes the layer.
        shape: shape of one sample; a list for several inputs.
        truth: rule to severity, all that somebody who knows both Keras and the layer would report.
        samples: makes samples, where random numbers are no inputs.
        said: what the diagnosis says where that is not the truth.
    """

    source: str
    make: Callable[[], keras.Layer]
    shape: Any
    truth: dict[str, str]
    samples: Callable[[], Any] | None = None
    said: dict[str, str] | None = None

    def counted(self) -> tuple[set[str], set[str], set[str]]:
        """The rules of the findings that are right, wrong and missed."""
        said, true = set(self.expected), set(self.truth)
        return said & true, said - true, true - said

    @property
    def expected(self) -> dict[str, str]:
        """What the diagnosis says: the truth, unless it is known to miss it."""
        return self.truth if self.said is None else self.said


def register(cls: type) -> type:
    return keras.saving.register_keras_serializable("public")(cls)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")
