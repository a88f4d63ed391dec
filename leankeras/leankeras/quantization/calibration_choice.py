"""How the accuracy of an int8 file depends on the choice and number of calibration samples."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leankeras.conversion import MIN_SAMPLES, convert_to_score
from leankeras.data import Data
from leankeras.runtime import compare_accuracy

SPREAD = "spread over the training part"


def compare_calibrations(model: Any, data: Data, counts: Sequence[int]) -> pd.DataFrame:
    """Convert a model to int8 with several sets of calibration samples, and score each file.

    The sets are the first samples of the training part, evenly spaced samples of it, samples of
    only its most frequent class, and normal noise with mean 0 and standard deviation 1 in the
    shape of a sample, which many tutorials use in place of data. A set is smaller than requested
    if there are fewer samples; a set of under 10 is left out, since :func:`leankeras.convert`
    refuses it.

    Args:
        model: as accepted by :func:`leankeras.convert`.
        data: the training part calibrates, the validation part is scored.
        counts: sizes of the sets, 10 to 300.

    Returns:
        Indexed by ``choice`` and ``samples``: ``accuracy``, and ``accuracy_lost`` against the
        largest of the spread sets with its 95 % interval ``lost_low`` and ``lost_high``.

    Example:
        >>> compare_calibrations(model, data, [10, 50, 200])
    """
    choices = {
        (choice, len(samples)): samples
        for count in sorted(counts)
        for choice, samples in _choices(data, count).items()
        if len(samples) >= MIN_SAMPLES
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
        table = compare_accuracy(files, data.x_val, data.y_val, reference)
    return table.set_index(names).sort_index(level="choice", sort_remaining=False)


def _choices(data: Data, count: int) -> dict[str, np.ndarray]:
    """Sets of up to ``count`` samples, by description."""
    x, y = data.x_train, data.y_train
    count = min(count, len(x))
    frequent = np.bincount(y).argmax()
    noise = np.random.default_rng(0).normal(size=(count, *x.shape[1:]))
    return {
        "the first ones": x[:count],
        SPREAD: data.calibration(count),
        "of one class only": x[y == frequent][:count],
        "random noise": noise.astype(x.dtype),
    }
