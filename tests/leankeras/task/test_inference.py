"""Outputs and labels show the task; what fits none is refused with the reasons."""

import keras
import numpy as np
import pytest

from leankeras.errors import DataError
from leankeras.task import Score, SeveralTasks, Task, infer_task

random = np.random.default_rng(0)
INDICES = random.integers(0, 3, 40)
BITS = random.integers(0, 2, 40)
PIXELS = random.integers(0, 3, (40, 4, 4))


@pytest.mark.parametrize(
    ("shape", "labels", "name"),
    [
        ((3,), INDICES, "classification"),
        ((3,), INDICES[:, None], "classification"),
        ((3,), np.eye(3)[INDICES], "classification"),
        ((3,), random.dirichlet([1, 1, 1], 40), "classification"),
        ((640,), BITS, "classification"),
        ((1,), BITS, "binary classification"),
        ((1,), BITS.astype(float)[:, None], "binary classification"),
        ((), BITS, "binary classification"),
        ((3,), np.stack([BITS, BITS, 1 - BITS], axis=1), "multi-label"),
        ((1,), random.normal(size=40), "regression"),
        ((1,), INDICES, "regression"),
        ((2,), random.normal(size=(40, 2)), "regression"),
        ((4, 4, 2), random.normal(size=(40, 4, 4, 2)), "regression"),
        ((4, 4, 3), PIXELS, "segmentation"),
        ((4, 4, 3), PIXELS[..., None], "segmentation"),
        ((4, 4, 3), np.eye(3)[PIXELS], "segmentation"),
        ((4, 4, 1), PIXELS > 1, "binary segmentation"),
        ((4, 3), PIXELS[:, 0], "tagging"),
        ((4, 1), PIXELS[:, 0] > 1, "binary tagging"),
        ((4, 4, 2), None, "reconstruction"),
        (
            (4, 4, 2),
            {"input": random.normal(size=(40, 4, 4, 2)), "anomaly": BITS},
            "anomaly detection",
        ),
    ],
)
def test_outputs_and_labels_show_the_task(shape, labels, name):
    assert infer_task({"output": shape}, labels).name == name


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((2,), INDICES, "classification: labels run from 0 to 2, for 2 outputs"),
        ((3,), INDICES - 1, "labels run from -1 to 1, for 3 outputs"),
        ((3,), random.normal(size=40), "needs integer class indices, not float64"),
        ((3,), random.normal(size=(40, 2)), r"regression: needs labels of shape \(3,\) a sample"),
        ((4, 4, 1), INDICES, r"binary segmentation: needs labels of shape \(4, 4, 1\)"),
    ],
)
def test_labels_that_fit_no_task_are_refused_with_what_was_tried(shape, labels, message):
    with pytest.raises(DataError, match=message) as refused:
        infer_task({"output": shape}, labels)
    assert "\n" not in str(refused.value)


def test_a_task_that_is_named_overrules_what_the_labels_suggest():
    shapes = {"output": (1,)}
    assert infer_task(shapes, BITS, "regression").name == "regression"
    with pytest.raises(DataError, match="not for outputs of shape"):
        infer_task(shapes, BITS, "segmentation")
    with pytest.raises(DataError, match="task: saw 'sorting'; expected one of classification"):
        infer_task(shapes, BITS, "sorting")


def test_several_outputs_have_a_task_each():
    shapes, labels = (
        {"kind": (3,), "level": (1,)},
        {"kind": INDICES, "level": random.normal(size=40)},
    )
    task = infer_task(shapes, labels)
    assert isinstance(task, SeveralTasks)
    assert {name: each.name for name, each in task.tasks.items()} == {
        "kind": "classification",
        "level": "regression",
    }
    for wrong in (INDICES, {"kind": INDICES}):
        with pytest.raises(DataError, match="the model has the outputs kind, level"):
            infer_task(shapes, wrong)


def test_a_task_of_ones_own_is_a_loss_and_a_score():
    within = Score("within", "within 1", lambda outputs, y: abs(outputs[:, 0] - y) < 1)
    task = Task("temperature", within, loss=keras.losses.huber)
    assert str(task) == "temperature, judged by within 1"
