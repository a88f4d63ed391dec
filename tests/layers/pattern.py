"""Patterns: a slow layer, what a diagnosis should say, and right and wrong rewrites."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

Port = Callable[[keras.Layer, keras.Layer], Any]
Rewrite = tuple[Callable[..., keras.Layer], Port | None]


@dataclass(frozen=True)
class Pattern:
    """One layer, taken as a pattern from what people write.

    Args:
        name: of the pattern.
        slow: makes the layer as it is found; small by default, to be tested quickly.
        input_shape: shape of one sample.
        findings: rule to severity, all that the diagnosis should say.
        real_shape: shape of one sample at a size that is used, to be measured.
        real_sizes: arguments of ``slow`` and of right rewrites at that size.
        right: rewrites that are the same function, as (factory, port).
        wrong: rewrites with one mistake each.
    """

    name: str
    slow: Callable[..., keras.Layer]
    input_shape: tuple[int, ...]
    findings: dict[str, str]
    real_shape: tuple[int, ...]
    real_sizes: dict[str, int]
    right: dict[str, Rewrite] = field(default_factory=dict)
    wrong: dict[str, Rewrite] = field(default_factory=dict)


def register(cls: type) -> type:
    return keras.saving.register_keras_serializable("patterns")(cls)


def values(weights) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in weights]


@dataclass(frozen=True)
class Function:
    """A layer that is to be rewritten, and rewrites of it, right and wrong; for the proof alone.

    Args:
        name: of the function.
        slow: makes the layer as it is found.
        input_shape: shape of one sample, or a list or dict of shapes.
        samples: makes samples such as a user has, from a random generator.
        right: rewrites that are the same function, as (factory, port).
        wrong: rewrites with one mistake each, named by it.
    """

    name: str
    slow: Callable[[], keras.Layer]
    input_shape: Any
    samples: Callable[[np.random.Generator], Any]
    right: dict[str, Rewrite]
    wrong: dict[str, Rewrite]


class Formula(keras.Layer):
    """Named weights, and a function of them and of the inputs.

    Args:
        function: takes the layer and its inputs.
        weights: shape of each weight, by name.
    """

    def __init__(self, function: Callable, **shapes: tuple[int, ...]):
        super().__init__()
        self.function = function
        self.shapes = shapes

    def build(self, *input_shapes):
        for name, shape in self.shapes.items():
            setattr(self, name, self.add_weight(shape=shape, name=name))

    def call(self, inputs):
        return self.function(self, inputs)
