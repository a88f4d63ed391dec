"""Tasks: what a model's outputs mean, what they are scored by and trained with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leankeras.task.law import Binary, Classes, Quantities
from leankeras.task.score import AnyScore, MeanScore, RankScore, Score


@dataclass(frozen=True)
class Task:
    """What the outputs of a model mean: how they are trained, scored and taught.

    Made by :meth:`infer` or by name: ``Task.classification()`` and the like. A task of one's own
    is a loss and a score; a teacher then teaches it by the squared error of the outputs.

    Args:
        name: what it is called, such as ``"classification"``.
        score: what the outputs are judged by.
        law: what the numbers of an output are.
        loss: a function of labels and outputs, of tensors, in place of the usual one.

    Example:
        >>> within = Score("within", "within 5 °C", lambda outputs, y: abs(outputs[:, 0] - y) < 5)
        >>> Task("temperature", within, loss=keras.losses.huber)
    """

    name: str
    score: AnyScore
    law: Classes | Quantities = field(default_factory=Quantities)
    loss: Callable[[Any, Any], Any] | None = None

    def __str__(self) -> str:
        return f"{self.name}, judged by {self.score.title}"

    @classmethod
    def infer(cls, model: Any, y: Any) -> "Task | SeveralTasks":
        """The task that a model's outputs and labels make.

        Args:
            model: a built Keras 3 model.
            y: labels, shape ``(n, ...)``; of several outputs arrays by name; None where the
                outputs are to be the inputs.

        Raises:
            DataError: labels that fit no task.

        Example:
            >>> str(Task.infer(model, y_train))
            'classification, judged by accuracy'
        """
        from leankeras.graph import named_outputs
        from leankeras.task.inference import infer_task

        outputs = named_outputs(model.output)
        return infer_task({name: output.shape[1:] for name, output in outputs.items()}, y)

    @classmethod
    def classification(cls) -> "Task":
        """One class of several, or of two with a single sigmoid output; judged by accuracy."""
        return cls("classification", ACCURACY, Classes())

    @classmethod
    def binary_classification(cls) -> "Task":
        """One of two classes, with a single output: a logit, or the probability of class 1."""
        return cls("binary classification", BINARY_ACCURACY, Binary())

    @classmethod
    def multi_label(cls) -> "Task":
        """Any number of labels at a time; judged by the mean of their F1 scores."""
        return cls("multi-label", F1, Binary())

    @classmethod
    def regression(cls) -> "Task":
        """Numbers, judged by the mean absolute error."""
        return cls("regression", ABSOLUTE_ERROR, Quantities())

    @classmethod
    def segmentation(cls) -> "Task":
        """A class for each pixel, judged by the mean IoU of the classes."""
        return cls("segmentation", MEAN_IOU, Classes())

    @classmethod
    def binary_segmentation(cls) -> "Task":
        """Pixels to be marked, judged by the IoU of what is marked with what should be."""
        return cls("binary segmentation", IOU, Binary())

    @classmethod
    def tagging(cls) -> "Task":
        """A class for each step of a sequence, judged by accuracy."""
        return cls("tagging", STEP_ACCURACY, Classes())

    @classmethod
    def binary_tagging(cls) -> "Task":
        """Steps of a sequence to be marked, judged by accuracy."""
        return cls("binary tagging", BINARY_ACCURACY, Binary())

    @classmethod
    def reconstruction(cls) -> "Task":
        """The inputs themselves, as an autoencoder gives them; judged by the squared error."""
        return cls("reconstruction", SQUARED_ERROR, Quantities())


@dataclass(frozen=True)
class SeveralTasks:
    """A task for each of several outputs.

    The score is the mean of theirs. So that it has a meaning, numbers take part with the share of
    their variance that the outputs explain (R²), which is a share like the others.

    Args:
        tasks: by output name.
    """

    tasks: Mapping[str, Task]

    def __str__(self) -> str:
        return "; ".join(f"{name}: {task}" for name, task in self.tasks.items())

    @property
    def name(self) -> str:
        """The names of the tasks."""
        return " and ".join(dict.fromkeys(task.name for task in self.tasks.values()))

    @property
    def score(self) -> AnyScore:
        """The mean of the scores."""
        scores = {
            name: EXPLAINED if task.score.is_error else task.score
            for name, task in self.tasks.items()
        }
        titles = ", ".join(f"{score.title} of {name}" for name, score in scores.items())
        return MeanScore("score", f"the mean of {titles}", scores)


def anomaly_detection() -> Task:
    """A reconstruction whose error is to be larger for anomalies; judged by the AUC.

    The labels to score by are arrays by name: ``input`` is what the outputs should be, and
    ``anomaly`` is 1 or 0 for each sample.
    """
    return Task("anomaly detection", AUC, Quantities())


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
