"""Scores of artifacts: of one, and of several on the same samples."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from leankeras.arrays import Arrays, count_samples, each_array, first, joined, named_or_listed
from leankeras.data import Data
from leankeras.errors import DataError
from leankeras.rows import CHUNK_BYTES
from leankeras.runtime.artifacts import predict, predictions
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
    shapes = [np.shape(array) for array in named_or_listed(y)]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if counts != {count_samples(x)} or 0 in counts:
        raise DataError(
            f"{count_samples(x)} samples and labels of shape {', '.join(map(str, shapes))}; "
            "expected a label for each sample, and at least one"
        )
    score = _score(target, x, y, task)
    measured = _measure(target, x, y, score)
    return {
        score.name: value_of(measured, score),
        "standard_error": standard_error(measured, score),
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
    x, labels, score = data.samples(part), data.labels(part), score_of(targets, data)
    measured = {name: _measure(target, x, labels, score) for name, target in targets.items()}
    return compare(measured, score, reference)


def score_of(targets: Mapping[Any, Any], data: Data) -> AnyScore:
    """What targets are judged by: the score of the data's task, or of the one that they show."""
    target = next(iter(targets.values()))
    return _score(target, data.samples("val"), data.evidence, data.task)


def score_value(target: Any, data: Data) -> float:
    """The score of a target on the validation part."""
    score = score_of({"": target}, data)
    return value_of(_measure(target, data.samples("val"), data.labels("val"), score), score)


def _score(target: Any, x: Arrays, labels: Any, task: Any) -> AnyScore:
    if isinstance(task, Task | SeveralTasks):
        return task.score
    outputs = predict(target, first(x))
    named = outputs if isinstance(outputs, Mapping) else {"output": outputs}
    return infer_task({name: each.shape[1:] for name, each in named.items()}, labels, task).score


def _measure(target: Any, x: Arrays, labels: Any, score: AnyScore) -> Any:
    """What a score takes from each sample."""
    measured, row = [], 0
    for outputs in _by_size(predictions(target, x)):
        rows = slice(row, row + count_samples(outputs))
        wanted = each_array(labels, lambda array, rows=rows: np.asarray(array[rows]))
        measured.append(score.measure(outputs, wanted))
        row = rows.stop
    return joined(measured)


def _by_size(batches: Iterator[Any]) -> Iterator[Any]:
    """Outputs of so many batches at a time that they make up 64 MB.

    Batch by batch would not do: from many outputs a score sees whether they are probabilities.
    """
    held, size = [], 0
    for outputs in batches:
        held.append(outputs)
        size += sum(array.nbytes for array in named_or_listed(outputs))
        if size >= CHUNK_BYTES:
            yield joined(held)
            held, size = [], 0
    if held:
        yield joined(held)
