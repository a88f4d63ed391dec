"""One of Keras's own layers for a program: it prunes, quantizes and loses channels as usual."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from leankeras.rewriting.compilation import value_of
from leankeras.rewriting.node import Node


@dataclass(frozen=True)
class Stock:
    """One of Keras's layers, and what its weights are of the old ones.

    Args:
        kind: its class in ``keras.layers``.
        arguments: of its constructor.
        weights: for each of its weights in order, the name that leads to it and what it is.
    """

    kind: str
    arguments: dict[str, Any]
    weights: tuple[tuple[str, Node], ...]

    def layer(self, name: str | None = None) -> keras.Layer:
        """A new layer, not built."""
        return getattr(keras.layers, self.kind)(**self.arguments, name=name)

    def text(self) -> list[str]:
        """Lines that return it, as Python."""
        return [f"return {self._made}"]

    @property
    def _made(self) -> str:
        arguments = ", ".join(
            f'{name}="{value}"' if isinstance(value, str) else f"{name}={value!r}"
            for name, value in self.arguments.items()
        )
        return f"keras.layers.{self.kind}({arguments})"

    def port(self, old: keras.Layer, new: keras.Layer) -> None:
        """Set its weights from those of the old layer."""
        self.assign([np.asarray(variable) for variable in old.variables], new)

    def assign(self, values: Sequence[np.ndarray], new: keras.Layer) -> None:
        """Set its weights from the values of the old layer's variables."""
        new.set_weights([value_of(node, values) for _, node in self.weights])


@dataclass(frozen=True)
class SelfAttention(Stock):
    """One of Keras's layers that takes its only input twice; a model, which takes it once.

    Args:
        input_shape: of one sample.
    """

    input_shape: tuple[int, ...]

    def layer(self, name: str | None = None) -> keras.Layer:
        """A model of the layer."""
        inputs = keras.Input(self.input_shape)
        return keras.Model(inputs, super().layer()(inputs, inputs), name=name)

    def text(self) -> list[str]:
        """Lines that return the model, as Python."""
        inputs = f"inputs = keras.Input({self.input_shape})"
        return [inputs, f"return keras.Model(inputs, {self._made}(inputs, inputs))"]
