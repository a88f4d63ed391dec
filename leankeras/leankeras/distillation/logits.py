"""A classifier's outputs before the softmax."""

from typing import Any

import keras
import numpy as np

from leankeras.data import Data
from leankeras.graph import infer
from leankeras.objective import find_objective


def logits_of(model: keras.Model, data: Data, x: Any) -> np.ndarray:
    """A classifier's logits, up to a constant for each sample where it gives probabilities.

    Args:
        model: a classifier with outputs of shape ``(n, classes)``, logits or probabilities.
        data: what it was trained on.
        x: samples, shape ``(n, ...)``.
    """
    answers = find_objective(model, data).answers(infer(model, x))
    return np.asarray(next(iter(answers.values())))
