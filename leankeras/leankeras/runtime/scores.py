"""Scores of artifacts: of one, and of several on the same samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from leankeras.arrays import Arrays, count_samples, first, named_or_listed
from leankeras.data import Data
from leankeras.errors import DataError
from leankeras.runtime.artifacts import predict
from leankeras.task import (
    AnyScore,
    SeveralTasks,
    Task,
    compare,
    infer_task,
    standard_error,
    value_of,
)


def evaluate(
    target: Any, x: Arrays, y: Any, task: Task | SeveralTasks | str | None = None
) -> dict[str, float]:
    """Score a model or a file on labelled samples.

    Args:
        target: a Keras model, or a path to a ``.tflite``, a Keras model file or a SavedModel.
        x: samples, shape ``(n, ...)``; of several inputs arrays by name, or in order.
        y: labels, shape ``(n, ...)``; of several outputs arrays by name.
        task: what the labels mean; by default inferred from them and the outputs.

    Returns:
        The score by its name, such as ``accuracy`` (a fraction); its ``standard_error``; and the
        number of ``samples``.

    Raises:
        DataError: no samples, not a label for each, or labels that fit no task.

    Example:
        >>> evaluate("model.tflite", data.x_test, data.y_test)["accuracy"]
    """
    labels = [np.asarray(array) for array in named_or_listed(y)]
    counts = {len(array) if array.ndim else 0 for array in labels}
    if counts != {count_samples(x)} or 0 in counts:
        raise DataError(
            f"{count_samples(x)} samples and labels of shape "
            f"{', '.join(str(array.shape) for array in labels)}; expected a label for each sample, "
            "and at least one"
        )
    outputs = predict(target, x)
    score = _task(outputs, y, task).score
    return {
        score.name: value_of(outputs, y, score),
        "standard_error": standard_error(outputs, y, score),
        "samples": count_samples(x),
    }


def compare_scores(
    targets: Mapping[Any, Any], data: Data, part: str = "val", reference: Any = None
) -> pd.DataFrame:
    """Score artifacts on the same samples and say what a difference is worth.

    Args:
        targets: name to target, as :func:`evaluate` takes them.
        data: whose samples and labels they are scored on.
        part: "val" or "test".
        reference: a name in ``targets``; by default the first.

    Returns:
        As :func:`leankeras.task.compare`: for a classifier, indexed by name, ``accuracy``, and
        ``accuracy_lost`` against the reference with its 95 % interval ``lost_low`` and
        ``lost_high``, all fractions; negative is a gain.

    Example:
        >>> compare_scores({"float": "a.tflite", "int8": "b.tflite"}, data)
    """
    x, labels = data.samples(part), data.labels(part)
    outputs = {name: predict(target, x) for name, target in targets.items()}
    score = _task(next(iter(outputs.values())), data.evidence, data.task).score
    return compare(outputs, labels, score, reference)


def score_of(targets: Mapping[Any, Any], data: Data) -> AnyScore:
    """What targets are judged by: the score of the data's task, or of the one that they show."""
    if data.task is not None and not isinstance(data.task, str):
        return data.task.score
    outputs = predict(next(iter(targets.values())), first(data.samples("val")))
    return _task(outputs, data.evidence, data.task).score


def score_value(target: Any, data: Data) -> float:
    """The score of a target on the validation part."""
    outputs = predict(target, data.samples("val"))
    score = _task(outputs, data.evidence, data.task).score
    return value_of(outputs, data.labels("val"), score)


def _task(outputs: Any, labels: Any, task: Any) -> Task | SeveralTasks:
    named = outputs if isinstance(outputs, Mapping) else {"output": outputs}
    return infer_task({name: each.shape[1:] for name, each in named.items()}, labels, task)
