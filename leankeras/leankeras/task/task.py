"""Tasks: what a model's outputs mean, found out from their shape and the labels."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leankeras.errors import DataError
from leankeras.rows import unread
from leankeras.task.law import Binary, Classes, Law, Quantities
from leankeras.task.measures import (
    ABSOLUTE_ERROR,
    ACCURACY,
    AUC,
    BINARY_ACCURACY,
    EXPLAINED,
    F1,
    IOU,
    MEAN_IOU,
    SQUARED_ERROR,
    STEP_ACCURACY,
)
from leankeras.task.score import AnyScore, MeanScore


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
    law: Law = field(default_factory=Quantities)
    loss: Callable[[Any, Any], Any] | None = None

    def __str__(self) -> str:
        return f"{self.name}, judged by {self.score.title}"

    def by_output(self, names: Iterable[str]) -> Mapping[str, "Task"]:
        """The task of each output; there is one output."""
        return dict.fromkeys(names, self)

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
        from leankeras.graph import named_outputs  # for which Keras has to be there

        outputs = named_outputs(model.outputs if len(model.outputs) == 1 else model.output)
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

    def by_output(self, names: Iterable[str]) -> Mapping[str, Task]:
        """The task of each output, whatever the names are that a model gives."""
        return self.tasks

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


TASKS = {  # in the order in which they are tried
    "classification": (Task.classification, Task.binary_classification),
    "multi-label": (Task.multi_label,),
    "tagging": (Task.tagging, Task.binary_tagging),
    "segmentation": (Task.segmentation, Task.binary_segmentation),
    "regression": (Task.regression,),
    "reconstruction": (Task.reconstruction, anomaly_detection),
}
BUILT_IN = {make().name for makes in TASKS.values() for make in makes}
LOOKED_AT = 10_000_000  # values of labels that are read to find the task out


def infer_task(
    shapes: Mapping[str, tuple[int, ...]],
    labels: Any,
    task: Task | SeveralTasks | str | None = None,
) -> Task | SeveralTasks:
    """The task that outputs of some shapes and labels make.

    Args:
        shapes: of one sample, by output name.
        labels: shape ``(n, ...)``; of several outputs arrays by name; None where the outputs are
            to be the inputs.
        task: overrules what the labels suggest: a task, which is returned as it is, or a key of
            ``TASKS``, for every output.

    Raises:
        DataError: labels that fit no task, or not the one that is named; it says why.
    """
    if isinstance(task, Task | SeveralTasks):
        return task
    if len(shapes) > 1:
        if not isinstance(labels, Mapping) or set(labels) != set(shapes):
            seen = ", ".join(labels) if isinstance(labels, Mapping) else "one array"
            raise DataError(
                f"labels for {seen}; the model has the outputs {', '.join(shapes)}, so give an "
                "array for each"
            )
        return SeveralTasks(
            {each: _infer(shape, labels[each], task, each) for each, shape in shapes.items()}
        )
    if isinstance(labels, Mapping) and set(labels) != {"input", "anomaly"}:
        if len(labels) != 1:
            raise DataError(f"labels for {', '.join(labels)}; the model has a single output")
        labels = next(iter(labels.values()))
    return _infer(next(iter(shapes.values())), labels, task, "the output")


def check_labels(
    task: Task | SeveralTasks, shapes: Mapping[str, tuple[int, ...]], labels: Any, part: str
) -> None:
    """Refuse labels of another part that are not what the task wants.

    Raises:
        DataError: it names the part and says why.
    """
    for name, each in task.by_output(shapes).items():
        found = labels[name] if isinstance(task, SeveralTasks) else labels
        if not isinstance(found, Mapping) and each.name in BUILT_IN:
            misfit = _misfit(each, tuple(shapes[name]), found)
            if misfit and each.name != "reconstruction":
                raise DataError(f"y_{part} does not fit the task {each.name}: {misfit}")


def _infer(shape: tuple[int, ...], labels: Any, name: str | None, output: str) -> Task:
    if isinstance(labels, Mapping):
        return anomaly_detection()
    if name is not None and name not in TASKS:
        raise DataError(f"task: saw {name!r}; expected one of {', '.join(TASKS)}")
    misfits = {}
    for kind in [name] if name else TASKS:
        for make in TASKS[kind]:
            task = make()
            misfit = _misfit(task, tuple(shape), labels)
            if misfit is None:
                return task
            misfits[task.name] = misfit
    tried = "; ".join(f"{task}: {misfit}" for task, misfit in misfits.items())
    seen = "no labels" if labels is None else f"labels of shape {np.shape(labels)[1:]} a sample"
    raise DataError(f"{seen} fit no task for {output} of shape {shape} ({tried})")


def _misfit(task: Task, shape: tuple[int, ...], labels: Any) -> str | None:
    """Why a task is none for such outputs and labels; None if it is one."""
    rank, last = len(shape), shape[-1] if shape else 1
    expected_rank = {
        "classification": rank == 1 and last > 1,
        "binary classification": (rank == 1 and last == 1) or rank == 0,
        "multi-label": rank == 1 and last > 1,
        "tagging": rank == 2 and last > 1,
        "binary tagging": rank == 2 and last == 1,
        "segmentation": rank >= 3 and last > 1,
        "binary segmentation": rank >= 3 and last == 1,
    }
    if not expected_rank.get(task.name, True):
        return f"not for outputs of shape {shape}"
    if task.name == "anomaly detection" or (labels is None) != (task.name == "reconstruction"):
        return "needs no labels" if labels is not None else "needs labels"
    if labels is None:
        return None
    labels = unread(labels)
    labels = np.asarray(labels[: max(1, LOOKED_AT // max(1, int(np.prod(labels.shape[1:]))))])
    whole = bool((labels == np.round(labels)).all()) if labels.dtype.kind in "fiub" else False
    binary = whole and labels.min() >= 0 and labels.max() <= 1
    same = labels.size == len(labels) * int(np.prod(shape))
    if task.name in ("classification", "tagging", "segmentation"):
        return _class_misfit(labels, shape, whole)
    if not same:
        return f"needs labels of shape {shape} a sample"
    if task.name.startswith(("binary", "multi")):
        return None if binary else "needs labels of 0 and 1"
    return None if labels.dtype.kind in "fiu" else f"needs numbers, not {labels.dtype}"


def _class_misfit(labels: np.ndarray, shape: tuple[int, ...], whole: bool) -> str | None:
    classes = shape[-1]
    if labels.shape[1:] in (shape[:-1], (*shape[:-1], 1)):
        if not whole or labels.dtype.kind == "f":
            return f"needs integer class indices, not {labels.dtype}"
        if labels.min() < 0 or labels.max() >= classes:
            return f"labels run from {labels.min()} to {labels.max()}, for {classes} outputs"
        return None
    if labels.shape[1:] != shape:
        return f"needs a class index of shape {shape[:-1]} a sample, or one-hot {shape}"
    sums = labels.sum(axis=-1)
    if labels.min() < 0 or not np.allclose(sums, 1, atol=1e-3):
        return "labels of a sample do not sum to 1"
    return None
