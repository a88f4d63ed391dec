import numpy as np
import pytest

from leankeras.conversion.tflite import convert
from leankeras.data import Data
from leankeras.quantization.calibration_choice import SPREAD, compare_calibrations
from leankeras.runtime import evaluate
from leankeras.training import fit

OTHERS = {"the first ones", "of one class only", "random noise"}


@pytest.fixture(scope="module")
def large_blobs(blobs) -> Data:
    """The blobs on a scale of thousands, where noise of spread 1 tells nothing of the ranges."""
    return Data(1000 * blobs.x_train, blobs.y_train, 1000 * blobs.x_test, blobs.y_test)


def test_each_choice_is_scored_against_the_largest_spread_set(small_model, blobs, tmp_path):
    fit(small_model, blobs, 10, learning_rate=0.02)
    table = compare_calibrations(small_model, blobs, [10, 500])
    count = len(blobs.x_train)
    assert set(table.index) == {
        *((choice, 10) for choice in OTHERS | {SPREAD}),
        *((choice, count) for choice in {SPREAD, "the first ones", "random noise"}),
        ("of one class only", np.bincount(blobs.y_train).max()),
    }
    reference = table.loc[(SPREAD, count)]
    assert reference[["accuracy_lost", "lost_low", "lost_high"]].tolist() == [0, 0, 0]
    file = convert(small_model, tmp_path / "all.tflite", "int8", blobs.x_train).path
    assert reference.accuracy == evaluate(file, blobs.x_val, blobs.y_val)["accuracy"]


def test_noise_of_the_wrong_scale_costs_the_accuracy(small_model, large_blobs):
    fit(small_model, large_blobs, 10, learning_rate=0.02)
    table = compare_calibrations(small_model, large_blobs, [20])
    assert table.lost_low["random noise", 20] > 0.1
    assert table.lost_low["the first ones", 20] <= 0


def test_a_class_of_fewer_samples_than_a_conversion_takes_is_left_out(small_model, blobs):
    few = np.concatenate([np.flatnonzero(blobs.y_train == kind)[:9] for kind in (0, 1)])
    data = Data(blobs.x_train[few], blobs.y_train[few], blobs.x_test, blobs.y_test)
    table = compare_calibrations(small_model, data, [10])
    assert set(table.index.get_level_values("choice")) == {
        SPREAD,
        "the first ones",
        "random noise",
    }
