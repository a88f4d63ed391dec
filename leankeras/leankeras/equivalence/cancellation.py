"""Distinguish weights that matter nowhere from weights that did not matter on the inputs tried.

The bias of the keys in an attention layer shifts all scores of a query equally, and a softmax
ignores that. Its gradient is a sum of terms that cancel, so it is pure rounding: with the weights
and inputs rounded differently it is another tiny number, as large as the rounding of its terms. If
a softmax is saturated or a unit is dead, the terms themselves are zero, and so is their rounding.
"""

import numpy as np

from leankeras.equivalence.gradients import Gradient
from leankeras.equivalence.tolerance import rms

# A gradient this many times as large as its rounding is not a sum that cancels.
TRUE_GRADIENT = 4


def movement(value: np.ndarray, gradient: Gradient) -> float:
    """How far a weight moves the outputs, by its gradient, when it changes by its own size."""
    if gradient is None or not np.isfinite(gradient).all():
        return 0.0
    return (rms(value) or 1.0) * float(np.linalg.norm(gradient))


def cancelled(value: np.ndarray, gradient: Gradient, rounded: Gradient, rounding: float) -> float:
    """How far it would move them if the terms of its gradient did not cancel; 0 if they do not.

    Args:
        value: the weight's value.
        gradient: the gradient of the outputs with respect to it.
        rounded: the same with everything rounded differently.
        rounding: the relative error of numbers that are rounded differently.
    """
    if gradient is None or rounded is None:
        return 0.0
    noise = movement(value, rounded - gradient)
    return noise / rounding if movement(value, gradient) < TRUE_GRADIENT * noise else 0.0
