"""What the numbers of an output are, which decides its loss and how a teacher teaches it."""

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

import numpy as np

EPSILON = 1e-7


class Law(ABC):
    """What the numbers of an output are."""

    @abstractmethod
    def are_probabilities(self, outputs: np.ndarray) -> bool:
        """Whether outputs, shape ``(n, ...)``, are probabilities and no logits."""

    @abstractmethod
    def loss(self, framework: ModuleType, labels: np.ndarray, shape: tuple, logits: bool) -> Any:
        """The loss of ``keras`` or ``tf_keras`` for labels as :meth:`arrange` gives them."""

    def arrange(self, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Labels as the loss takes them: in the shape of the outputs."""
        return labels.reshape(len(labels), *shape[1:])

    def logits(self, outputs: Any, probabilities: bool) -> Any:
        """Outputs as logits of classes along the last axis, or as the numbers they are."""
        return outputs


class Classes(Law):
    """Scores of classes, of which one is right: logits, or the probabilities of a softmax.

    They lie along the last axis; there may be a choice for every step or pixel.
    """

    def are_probabilities(self, outputs: np.ndarray) -> bool:
        """Whether outputs, shape ``(n, ..., classes)``, come from a softmax.

        Rows of logits that all lie in [0, 1] and sum to 1 do not occur.
        """
        return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1, atol=1e-2))

    def arrange(self, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Labels as the loss takes them: indices without a last axis of 1, or one-hot."""
        dense = labels.ndim == len(shape) and labels.shape[-1] == 1
        return labels.reshape(*labels.shape[:-1]) if dense else labels

    def loss(self, framework: ModuleType, labels: np.ndarray, shape: tuple, logits: bool) -> Any:
        """The cross-entropy of ``keras`` or ``tf_keras``, for indices or one-hot labels."""
        one_hot = labels.ndim == len(shape)
        kind = "CategoricalCrossentropy" if one_hot else "SparseCategoricalCrossentropy"
        return getattr(framework.losses, kind)(from_logits=logits)

    def logits(self, outputs: Any, probabilities: bool) -> Any:
        """Outputs as logits, up to a constant for each choice."""
        import keras

        if not probabilities:
            return outputs
        return keras.ops.log(keras.ops.maximum(outputs, EPSILON))


class Binary(Law):
    """Yes or no for each number: a logit, or the probability of a sigmoid."""

    def are_probabilities(self, outputs: np.ndarray) -> bool:
        """Whether outputs of any shape may come from a sigmoid."""
        return bool((outputs >= 0).all() and (outputs <= 1).all())

    def loss(self, framework: ModuleType, labels: np.ndarray, shape: tuple, logits: bool) -> Any:
        """The binary cross-entropy of ``keras`` or ``tf_keras``."""
        return framework.losses.BinaryCrossentropy(from_logits=logits)

    def logits(self, outputs: Any, probabilities: bool) -> Any:
        """Outputs as logits of two classes, no and yes, along a new last axis."""
        import keras

        if probabilities:
            likely = keras.ops.clip(outputs, EPSILON, 1 - EPSILON)
            outputs = keras.ops.log(likely) - keras.ops.log(1 - likely)
        return keras.ops.stack([keras.ops.zeros_like(outputs), outputs], axis=-1)


class Quantities(Law):
    """Numbers to be met as closely as possible."""

    def are_probabilities(self, outputs: np.ndarray) -> bool:
        """False: numbers are what they are."""
        return False

    def loss(self, framework: ModuleType, labels: np.ndarray, shape: tuple, logits: bool) -> Any:
        """The mean squared error of ``keras`` or ``tf_keras``."""
        return framework.losses.MeanSquaredError()
