"""The built-in scores: accuracy, F1, IoU, errors of numbers, AUC."""

from collections.abc import Mapping

import numpy as np

from leankeras.task.law import Binary
from leankeras.task.score import RankScore, Score


def _by_sample(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)


def _indices(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Class indices in the shape of the outputs without its last axis."""
    labels = np.asarray(labels)
    if labels.ndim < outputs.ndim:
        return labels
    return labels[..., 0] if labels.shape[-1] == 1 else labels.argmax(axis=-1)


def _hits(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return _by_sample(outputs.argmax(axis=-1) == _indices(labels, outputs))


def _marked(outputs: np.ndarray) -> np.ndarray:
    """What is marked: above 0.5 where the outputs are probabilities, else above 0."""
    return outputs > (0.5 if Binary().are_probabilities(outputs) else 0.0)


def _binary_hits(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return _by_sample(_marked(outputs) == (np.asarray(labels).reshape(outputs.shape) > 0.5))


def _counts(marked: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Right marks, marks and wanted marks of each sample and class, shape ``(n, 3 * classes)``."""
    both = [marked & wanted, marked, wanted]
    axes = tuple(range(1, marked.ndim - 1))
    return np.concatenate([each.sum(axis=axes, dtype=np.float64) for each in both], axis=1)


def _binary_counts(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return _counts(_marked(outputs), np.asarray(labels).reshape(outputs.shape) > 0.5)


def _class_counts(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    classes = np.arange(outputs.shape[-1])
    marked = outputs.argmax(axis=-1)[..., np.newaxis] == classes
    return _counts(marked, _indices(labels, outputs)[..., np.newaxis] == classes)


def _mean_over_classes(right: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The mean of right over whole for the classes that occur."""
    occurs = whole > 0
    shares = np.where(occurs, right / np.where(occurs, whole, 1), 0)
    return shares.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)


def _mean_f1(means: np.ndarray) -> np.ndarray:
    right, marked, wanted = np.split(means, 3, axis=-1)
    return _mean_over_classes(2 * right, marked + wanted)


def _mean_iou(means: np.ndarray) -> np.ndarray:
    right, marked, wanted = np.split(means, 3, axis=-1)
    return _mean_over_classes(right, marked + wanted - right)


def _errors(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return outputs - np.asarray(labels).reshape(outputs.shape)


def _explained_parts(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels, dtype=np.float64).reshape(outputs.shape)
    moments = (np.square(outputs - labels), labels, np.square(labels))
    return np.stack([_by_sample(each) for each in moments], axis=1)


def _explained(means: np.ndarray) -> np.ndarray:
    error, mean, square = np.moveaxis(means, -1, 0)
    return np.maximum(1 - error / np.maximum(square - mean**2, 1e-12), 0)


def _anomalies(outputs: np.ndarray, labels: Mapping[str, np.ndarray]) -> np.ndarray:
    errors = _by_sample(np.square(_errors(outputs, labels["input"])))
    return np.stack([errors, np.asarray(labels["anomaly"], dtype=np.float64)], axis=1)


ACCURACY = Score("accuracy", "accuracy", _hits)
BINARY_ACCURACY = Score("accuracy", "accuracy", _binary_hits)
STEP_ACCURACY = Score("accuracy", "accuracy by step", _hits)
F1 = Score("F1", "mean F1 of the labels", _binary_counts, _mean_f1)
IOU = Score("IoU", "IoU of what is marked", _binary_counts, _mean_iou)
MEAN_IOU = Score("IoU", "mean IoU of the classes", _class_counts, _mean_iou)
ABSOLUTE_ERROR = Score(
    "MAE", "mean absolute error", lambda x, y: _by_sample(abs(_errors(x, y))), is_error=True
)
SQUARED_ERROR = Score(
    "MSE", "mean squared error", lambda x, y: _by_sample(np.square(_errors(x, y))), is_error=True
)
EXPLAINED = Score("R2", "explained variance", _explained_parts, _explained)
AUC = RankScore("AUC", "AUC of the reconstruction error", _anomalies)
