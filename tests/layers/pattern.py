"""What a pattern is: a slow layer, what a diagnosis should say, and rewrites right and wrong."""

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
