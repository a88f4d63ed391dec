"""Repeat a distillation over settings and seeds, to tell a better setting from a lucky one."""

from collections.abc import Sequence

import keras
import pandas as pd

from leankeras.copying import copy_model
from leankeras.data import Data
from leankeras.distillation.distillation import distill
from leankeras.objective import find_objective
from leankeras.runtime import score_value
from leankeras.training import fit


def distillation_trials(
    teacher: keras.Model,
    student: keras.Model,
    data: Data,
    settings: Sequence[tuple[float, float] | None],
    seeds: Sequence[int],
    epochs: int,
) -> pd.DataFrame:
    """Train a student under each setting from each seed, always from the same weights.

    Args:
        teacher: a trained model.
        student: where every trial starts; it is left as it is.
        data: what to train and score on.
        settings: pairs of ``(temperature, alpha)``; None trains on the labels alone.
        seeds: seeds for the order of the samples.
        epochs: epochs of each trial.

    Returns:
        A row for each trial: ``setting`` in words, ``seed``, and the score on the validation part
        by its name, such as ``accuracy``.
    """
    score = find_objective(student, data).task.score
    rows = []
    for setting in settings:
        for seed in seeds:
            keras.utils.set_random_seed(seed)
            if setting is None:
                name, trained = "labels alone", copy_model(student)
                fit(trained, data, epochs)
            else:
                temperature, alpha = setting
                name = f"T = {temperature:g}, alpha = {alpha:g}"
                trained = distill(teacher, student, data, temperature, alpha, epochs, verbose=0)
            rows.append({"setting": name, "seed": seed, score.name: score_value(trained, data)})
    return pd.DataFrame(rows)
