"""Scores are what scikit-learn or NumPy say; a difference has an interval from the samples."""

import numpy as np
import pytest

from leankeras.task import Merit, SeveralTasks, Task, compare, infer_task, standard_error, value_of

random = np.random.default_rng(0)


def value(task, outputs, labels):
    return value_of(task.score.measure(outputs, labels), task.score)


def test_accuracy_of_classes_steps_and_a_single_output():
    logits, y = random.normal(size=(50, 3)), random.integers(0, 3, 50)
    right = (logits.argmax(1) == y).mean()
    assert value(Task.classification(), logits, y) == pytest.approx(right)
    assert value(Task.classification(), logits, np.eye(3)[y]) == pytest.approx(right)
    steps, tags = random.normal(size=(20, 5, 3)), random.integers(0, 3, (20, 5))
    expected = (steps.argmax(-1) == tags).mean()
    assert value(Task.tagging(), steps, tags) == pytest.approx(expected)
    single, bits = random.normal(size=(50, 1)), random.integers(0, 2, 50)
    expected = ((single[:, 0] > 0) == bits).mean()
    assert value(Task.binary_classification(), single, bits) == pytest.approx(expected)
    likely = 1 / (1 + np.exp(-single))
    assert value(Task.binary_classification(), likely, bits) == pytest.approx(expected)


def test_f1_is_the_mean_over_the_labels():
    outputs, y = random.normal(size=(60, 3)), random.integers(0, 2, (60, 3))
    scores = []
    for label in range(3):
        marked, wanted = outputs[:, label] > 0, y[:, label] == 1
        both = (marked & wanted).sum()
        scores.append(2 * both / (marked.sum() + wanted.sum()))
    assert value(Task.multi_label(), outputs, y) == pytest.approx(np.mean(scores))


def test_iou_is_that_of_all_pixels_together():
    outputs, y = random.normal(size=(10, 6, 6, 1)), random.integers(0, 2, (10, 6, 6))
    marked, wanted = outputs[..., 0] > 0, y == 1
    expected = (marked & wanted).sum() / (marked | wanted).sum()
    assert value(Task.binary_segmentation(), outputs, y) == pytest.approx(expected)
    outputs, y = random.normal(size=(10, 6, 6, 3)), random.integers(0, 3, (10, 6, 6))
    chosen = outputs.argmax(-1)
    each = [((chosen == c) & (y == c)).sum() / ((chosen == c) | (y == c)).sum() for c in range(3)]
    assert value(Task.segmentation(), outputs, y) == pytest.approx(np.mean(each))


def test_errors_of_numbers():
    outputs, y = random.normal(size=(30, 1)), random.normal(size=30)
    assert value(Task.regression(), outputs, y) == pytest.approx(abs(outputs[:, 0] - y).mean())
    x, again = random.normal(size=(2, 30, 8, 2))
    assert value(Task.reconstruction(), again, x) == pytest.approx(np.square(again - x).mean())


def test_auc_counts_the_pairs_in_the_right_order():
    x, outputs = random.normal(size=(2, 40, 8, 1))
    labels = random.integers(0, 2, 40)
    outputs[5] = outputs[6] = x[5] = x[6]  # a tie, which counts half
    labels[5:7] = 0, 1
    errors = np.square(outputs - x).mean((1, 2))
    pairs = errors[labels == 1][:, None] - errors[labels == 0]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    given = {"input": x, "anomaly": labels}
    task = infer_task({"output": (8, 1)}, given)
    assert value(task, outputs, given) == pytest.approx(expected)


def test_several_outputs_are_scored_by_the_mean_of_shares():
    tasks = SeveralTasks({"kind": Task.classification(), "level": Task.regression()})
    y = {"kind": random.integers(0, 3, 50), "level": random.normal(size=(50, 1))}
    outputs = {"kind": random.normal(size=(50, 3)), "level": y["level"] + 0.3}
    explained = 1 - 0.09 / y["level"].var()
    right = (outputs["kind"].argmax(1) == y["kind"]).mean()
    assert value(tasks, outputs, y) == pytest.approx((right + explained) / 2)
    outputs["level"] = np.zeros((50, 1)) + 100  # worse than their mean
    assert value(tasks, outputs, y) == pytest.approx(right / 2)


def test_the_interval_of_an_accuracy_is_that_of_a_paired_comparison():
    y = np.zeros(2000, int)
    base = np.tile([1.0, 0.0], (2000, 1))
    other = base.copy()
    other[:100] = [0.0, 1.0]
    score = Task.classification().score
    measured = {name: score.measure(each, y) for name, each in (("base", base), ("other", other))}
    row = compare(measured, score).loc["other"]
    margin = 1.96 * np.sqrt(0.05 * 0.95 / 2000)
    assert row.accuracy_lost == pytest.approx(0.05)
    assert row.lost_low == pytest.approx(0.05 - margin, abs=0.002)
    assert row.lost_high == pytest.approx(0.05 + margin, abs=0.002)
    deviation = standard_error(measured["other"], score)
    assert deviation == pytest.approx(np.sqrt(0.05 * 0.95 / 2000), rel=0.1)


def test_intervals_of_every_score_hold_the_difference_of_new_samples():
    """Nine times in ten and more, for a score that is no mean: the growth of an error."""
    grown = np.abs(random.normal(size=400_000) + 0.3).mean() / np.sqrt(2 / np.pi) - 1
    held, score = 0, Task.regression().score
    for _ in range(60):
        noise = random.normal(size=(300, 1))
        pair = {"before": noise, "after": noise + 0.3}
        measured = {name: score.measure(each, np.zeros(300)) for name, each in pair.items()}
        table = compare(measured, score)
        held += table.lost_low["after"] <= grown <= table.lost_high["after"]
    assert held >= 54


@pytest.mark.parametrize(
    ("merit", "lost", "expected"),
    [
        (Merit("accuracy", ""), (0.02, 0.01, 0.03), "-2.0 points [-3.0, -1.0]: worse"),
        (Merit("accuracy", ""), (-0.02, -0.03, -0.01), "+2.0 points [+1.0, +3.0]: better"),
        (Merit("accuracy", ""), (0.0, -0.01, 0.01), "+0.0 points [-1.0, +1.0]: too close to call"),
        (Merit("MAE", "", is_error=True), (0.1, 0.05, 0.2), "error +10.0 % [+5.0, +20.0]: worse"),
    ],
)
def test_a_gain_is_said_in_the_unit_of_the_score(merit, lost, expected):
    row = dict(zip(merit.columns[1:], lost, strict=True))
    assert merit.gain_in_words(row) == expected
