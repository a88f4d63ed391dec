"""How the score of an int8 file depends on which samples calibrate it, and on how many."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leankeras.arrays import Arrays, count_samples, each_array
from leankeras.conversion import MIN_SAMPLES, convert_to_score
from leankeras.data import Data
from leankeras.runtime import compare_scores

SPREAD = "spread over the training part"


def compare_calibrations(model: Any, data: Data, counts: Sequence[int]) -> pd.DataFrame:
    """Convert a model to int8 with several sets of calibration samples, and score each file.

    The sets are the first samples of the training part; samples at even distances in it; where
    labels are classes, samples of its most frequent class alone; and noise in the shape of a
    sample, which stands in for data in many a tutorial: normal with mean 0 and spread 1, or where
    the samples are integers, shuffled ones. A set has as many samples as there are, where that is
    fewer than asked for; one of under 10 is left out, since :func:`leankeras.convert` refuses it.

    Args:
        model: as accepted by :func:`leankeras.convert`.
        data: the training part calibrates, the validation part is scored.
        counts: sizes of the sets, 10 to 300.

    Returns:
        Indexed by ``choice`` and ``samples``: the score by its name, and what is lost of
        it against the largest of the spread sets with its 95 % interval, for a classifier
        ``accuracy``, ``accuracy_lost``, ``lost_low`` and ``lost_high``.

    Example:
        >>> compare_calibrations(model, data, [10, 50, 200])
    """
    choices = {
        (choice, count_samples(samples)): samples
        for count in sorted(counts)
        for choice, samples in _choices(data, count).items()
        if count_samples(samples) >= MIN_SAMPLES
    }
    names = pd.MultiIndex.from_tuples(choices, names=["choice", "samples"])
    largest = max(samples for choice, samples in choices if choice == SPREAD)
    reference = f"{SPREAD}, {largest}"
    with tempfile.TemporaryDirectory() as folder:
        files = {
            f"{choice}, {size}": convert_to_score(
                model, Path(folder, f"{number}.tflite"), "int8", samples
            )
            for number, ((choice, size), samples) in enumerate(choices.items())
        }
        table = compare_scores(files, data, reference=reference)
    return table.set_index(names).sort_index(level="choice", sort_remaining=False)


def _choices(data: Data, count: int) -> dict[str, Arrays]:
    """Sets of up to ``count`` samples by what they are."""
    x, y = data.x_train, data.y_train
    count = min(count, count_samples(x))
    random = np.random.default_rng(0)

    def noise(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f":  # indices and pixels: any that occur
            return random.permuted(array[:count].ravel()).reshape(array[:count].shape)
        return random.normal(size=(count, *array.shape[1:])).astype(array.dtype)

    choices = {"the first ones": each_array(x, lambda array: array[:count])}
    choices[SPREAD] = data.calibration(count)
    if isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in "iub":
        rows = np.flatnonzero(y == np.bincount(y).argmax())[:count]
        choices["of one class only"] = each_array(x, lambda array: array[rows])
    choices["random noise"] = each_array(x, noise)
    return choices
