"""Measures of a difference, on made-up outputs; and the parts of a file's outputs."""

import keras
import numpy as np
import pytest

from leankeras.conversion.difference import Part, measure, output_parts
from leankeras.conversion.score import score
from leankeras.conversion.tflite import convert
from leankeras.conversion.verification import judge, percent
from leankeras.errors import ConversionError, DataError
from leankeras.runtime import TFLiteFile

layers = keras.layers
random = np.random.default_rng(0)
EXACT = random.normal(size=(50, 3)) * [1.0, 5.0, 0.1]


def part(exact, kind="FULLY_CONNECTED"):
    return Part("output", slice(0, exact.shape[-1]), kind, 0, True)


def found(exact, values, mode="int8", kind="FULLY_CONNECTED"):
    return judge([part(exact, kind)], {"output": exact}, {"output": values}, mode)


def test_figures_are_relative_to_the_output_and_to_the_channel():
    values = EXACT + np.asarray([0.0, 0.0, 0.05])
    (difference,) = measure([part(EXACT)], {"output": EXACT}, {"output": values})
    size = np.sqrt((EXACT**2).mean())
    assert difference.relative == pytest.approx(0.05 / np.sqrt(3) / size)
    expected = [0, 0, 0.05 / np.sqrt((EXACT[:, 2] ** 2).mean())]
    assert difference.channels == pytest.approx(expected)
    assert difference.channel == 2


@pytest.mark.parametrize(
    ("change", "finding", "refused"),
    [
        (lambda x: x * 1.05, None, False),
        (lambda x: x * 1.3, "the output is 30 % off", False),
        (lambda x: x * 2, "the output is 100 % off", True),
        (lambda x: x * 30, "the output is 29 times its size off", True),
        (lambda x: x * [1, 1, 1.6], "channel 2 of the output is 60 % off", False),
        (lambda x: x * [1, 1, 0], "channel 2 of the output is the same for every sample", False),
        (lambda x: x * [0, 1, 1], "channel 0 of the output is the same for every sample", True),
        (lambda x: x + np.asarray([0, 0, 0.7]), "channel 2 of the output is 7", True),
        (lambda x: 0 * x, "the output is 100 % off", True),
    ],
)
def test_what_is_said_about_a_difference(change, finding, refused):
    verdict = found(EXACT, change(EXACT))
    assert (verdict.finding is None) == (finding is None)
    assert finding is None or verdict.finding.startswith(finding)
    assert verdict.refused == refused


def test_a_large_mean_does_not_hide_what_varies():
    exact = 1e5 + 10 * random.normal(size=(50, 1))
    assert found(exact, np.full_like(exact, exact.mean())).refused
    verdict = found(exact, exact + 15 * random.normal(size=(50, 1)))
    assert verdict.finding == "the output is off by more than it varies from sample to sample"
    assert found(exact, exact + random.normal(size=(50, 1))).finding is None


def test_what_does_not_vary_is_no_reason_to_refuse():
    exact = EXACT * [1, 0, 1e-7]
    assert found(exact, exact + 0.01 * random.normal(size=exact.shape)).finding is None
    constant = np.ones((50, 2))
    assert found(constant, constant + 0.01).finding is None
    zero = np.zeros((50, 2))
    assert found(zero, zero).finding is None


def test_probabilities_near_zero_are_not_told_apart():
    small = 1e-3 * random.random((50, 1))
    exact = np.concatenate([small, random.random((50, 2))], axis=1)
    lost = exact * [0, 1, 1]
    assert found(exact, lost, kind="LOGISTIC").finding is None
    assert "channel 0" in found(exact, lost).finding


def test_classes_count_where_one_is_clearly_ahead():
    exact = np.eye(4)[random.integers(0, 4, 400)] * 0.8 + 0.05
    values = exact.copy()
    values[:16] = np.roll(values[:16], 1, axis=1)
    verdict = found(exact, values, kind="SOFTMAX")
    assert verdict.finding.startswith("the output is")
    values[8:] = exact[8:]
    values[:8] = 0.4 * exact[:8] + 0.6 * values[:8]
    assert "8 of the 400 clear cases" not in str(found(exact, values, kind="SOFTMAX").finding)
    tied = np.full((400, 4), 0.25)
    assert found(tied, tied + 0.01 * random.random((400, 4)), kind="SOFTMAX").finding is None


def test_classes_that_change_are_told_where_the_figures_are_small():
    exact = np.tile([0.5, 0.35, 0.1, 0.05], (400, 1))
    values = exact.copy()
    values[::12, :2] = values[::12, 1::-1]
    assert found(exact, values, kind="SOFTMAX").finding == (
        "34 of the 400 clear cases get a different class"
    )


def test_numbers_of_classes_are_right_or_wrong():
    exact = random.integers(0, 100, (200, 1)).astype("float32")
    values = exact.copy()
    values[:4] = (values[:4] + 50) % 100
    assert found(exact, values).finding is None
    assert found(exact, (exact + 50) % 100).refused


def test_one_sample_that_is_quite_wrong_is_told():
    exact = random.normal(size=(300, 8))
    values = exact.copy()
    values[7] = -values[7]
    assert found(exact, values).finding.endswith("off on one of the samples")


@pytest.mark.parametrize(
    ("values", "message"),
    [(EXACT, "of the model itself"), (EXACT[:, :2], "has shape")],
)
def test_what_cannot_be_compared_is_refused(values, message):
    exact = EXACT if values is not EXACT else np.full_like(EXACT, np.inf)
    with pytest.raises(ConversionError, match=message):
        found(exact, values)
    verdict = found(EXACT, EXACT * np.nan)
    assert (verdict.refused, "NaN or Inf" in verdict.finding) == (True, True)


def test_parts_are_what_the_last_concatenation_joins(tmp_path):
    inputs = keras.Input((8,))
    hidden = layers.Dense(8, activation="relu")(inputs)
    scores = layers.Dense(3, activation="sigmoid")(hidden)
    joined = layers.Concatenate()([layers.Dense(4)(hidden), scores])
    model = keras.Model(inputs, {"joined": joined, "class": layers.Softmax()(hidden)})
    x = random.normal(size=(20, 8)).astype("float32")
    for mode in ("float32", "int8", "int8-io"):
        file = TFLiteFile(convert(model, tmp_path / "a.tflite", mode, x).path)
        parts = {
            (part.output, part.channels.start, part.channels.stop, part.kind, part.alone)
            for part in output_parts(file)
        }
        assert parts == {
            ("joined", 0, 4, "FULLY_CONNECTED", False),
            ("joined", 4, 7, "LOGISTIC", False),
            ("class", 0, 8, "SOFTMAX", True),
        }


@pytest.mark.parametrize(
    ("relative", "said"), [(0.5, "50 %"), (0.0123, "1.2 %"), (1.5, "150 %"), (830, "830 times")]
)
def test_percentages_are_readable(relative, said):
    assert percent(relative).startswith(said)


LOGITS = random.normal(size=(400, 3))
CLASSES = LOGITS.argmax(axis=1)


@pytest.mark.parametrize(
    ("labels", "exact", "wrong", "measure_name"),
    [
        (CLASSES, LOGITS, -LOGITS, "accuracy"),
        (np.eye(3)[CLASSES], LOGITS, -LOGITS, "accuracy"),
        (CLASSES % 2, 1.0 * (CLASSES % 2)[:, None], 0.0 * LOGITS[:, :1], "accuracy"),
        (np.stack([CLASSES] * 2, 1), np.stack([LOGITS] * 2, 1), np.zeros((400, 2, 3)), "accuracy"),
        (LOGITS[:, 0], LOGITS[:, :1], 0 * LOGITS[:, :1], "R²"),
        (LOGITS, LOGITS, 0 * LOGITS, "R²"),
    ],
)
def test_labels_are_scored_by_what_they_are(labels, exact, wrong, measure_name):
    right = score({"output": labels}, {"output": exact}, {"output": exact})
    assert (right.measure, right.model, right.lost) == (measure_name, pytest.approx(1), 0)
    lossy = score({"output": labels}, {"output": exact}, {"output": wrong})
    assert lossy.lost > 0.2
    assert lossy.file < right.file


def test_a_loss_that_may_be_chance_is_none():
    values = LOGITS.copy()
    values[:2] = -values[:2]
    assert score({"a": CLASSES}, {"a": LOGITS}, {"a": values}).lost < 0.005


def test_labels_of_another_shape_are_told():
    with pytest.raises(DataError, match=r"labels of shape \(400, 2\) for output a"):
        score({"a": LOGITS[:, :2]}, {"a": LOGITS}, {"a": LOGITS})
