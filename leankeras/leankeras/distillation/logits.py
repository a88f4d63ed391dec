"""What a classifier says before the softmax."""

from typing import Any

import keras
import numpy as np

from leankeras.data import Data
from leankeras.graph import infer
from leankeras.objective import find_objective
from leankeras.task import Quantities


def logits_of(model: keras.Model, data: Data, sample: Any) -> np.ndarray | None:
    """A classifier's logits for one sample, up to a constant where it gives probabilities.

    Args:
        model: a trained model.
        data: what it was trained on.
        sample: with its batch axis, shape ``(1, ...)``.

    Returns:
        Shape ``(classes,)``; where there is a choice for each of several outputs, steps or pixels,
        those of the first. None if the task has no classes.
    """
    objective = find_objective(model, data)
    for name, answers in objective.answers(infer(model, sample)).items():
        if not isinstance(objective.tasks[name].law, Quantities):
            answers = np.asarray(answers)
            return answers.reshape(-1, answers.shape[-1])[0]
    return None
