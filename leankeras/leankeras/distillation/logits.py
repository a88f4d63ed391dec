"""A classifier's outputs before the softmax."""

import keras
import numpy as np

from leankeras.training import gives_probabilities


def logits_of(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """A classifier's logits, up to a constant for each sample if it outputs probabilities.

    Args:
        model: a classifier with outputs of shape ``(n, classes)``, logits or probabilities.
        x: samples, shape ``(n, ...)``.
    """
    outputs = np.asarray(model(x, training=False))
    return np.log(outputs + 1e-7) if gives_probabilities(model, x) else outputs
