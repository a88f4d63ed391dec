"""The scores of a model and its file on labelled samples, and what the file loses."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leankeras.errors import DataError

Z = 1.645  # one-sided 95 %


@dataclass(frozen=True)
class Score:
    """The scores of a model and its file on the same labelled samples.

    Attributes:
        measure: ``"accuracy"``, the share of correct classes; or ``"R²"``, the share of the
            labels' variance that the output explains.
        model: the model's score.
        file: the file's score.
        lost: the loss that is certain: the lower bound of the loss, at 95 %; at least 0.
    """

    measure: str
    model: float
    file: float
    lost: float

    def __str__(self) -> str:
        if self.measure == "accuracy":
            return f"accuracy {100 * self.file:.1f} %, the model's {100 * self.model:.1f} %"
        return f"{self.measure} {self.file:.3f}, the model's {self.model:.3f}"


def score(
    labels: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
) -> Score:
    """Score the output on which a file loses most.

    Args:
        labels: labels by output name: class indices in the shape of the output without its last
            axis (or one-hot), 0 and 1 for a single unit, or targets in the shape of the output.
        expected: the model's outputs on the same samples.
        values: the file's outputs.

    Raises:
        DataError: the labels do not fit the output.
    """
    scores = [_score(name, labels[name], expected[name], values[name]) for name in labels]
    return max(scores, key=lambda each: each.lost)


def _score(name: str, labels: np.ndarray, expected: np.ndarray, values: np.ndarray) -> Score:
    measure, of_model = _by_sample(name, labels, expected, expected)
    _, of_file = _by_sample(name, labels, values, expected)
    lost = of_model - of_file
    margin = Z * lost.std() / np.sqrt(len(lost))
    return Score(
        measure, float(of_model.mean()), float(of_file.mean()), max(0.0, lost.mean() - margin)
    )


def _by_sample(
    name: str, labels: np.ndarray, outputs: np.ndarray, expected: np.ndarray
) -> tuple[str, np.ndarray]:
    """The measure and its value for each sample, shape ``(n,)``."""
    whole = np.array_equal(labels, np.round(labels))
    if labels.shape == outputs.shape[:-1] and whole and outputs.shape[-1] > 1:
        return "accuracy", _mean(outputs.argmax(axis=-1) == labels)
    if labels.size != outputs.size:
        raise DataError(
            f"labels of shape {labels.shape} for output {name} of shape {outputs.shape}; expected "
            "class indices or targets, one for each sample"
        )
    labels = labels.reshape(outputs.shape)
    if whole and set(np.unique(labels)) <= {0, 1}:
        if outputs.ndim > 1 and outputs.shape[-1] > 1 and (labels.sum(axis=-1) == 1).all():
            return "accuracy", _mean(outputs.argmax(axis=-1) == labels.argmax(axis=-1))
        threshold = 0.5 if expected.min() >= 0 and expected.max() <= 1 else 0.0
        return "accuracy", _mean((outputs > threshold) == labels)
    error = _mean(np.square(outputs.astype("float64") - labels))
    return "R²", 1 - error / (labels.var() or 1.0)


def _mean(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), -1).mean(axis=1, dtype="float64")
