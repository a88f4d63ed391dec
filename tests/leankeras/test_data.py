import numpy as np
import pytest

from kopt.project import DATA
from leankeras.data import Data
from leankeras.errors import DataError


@pytest.mark.parametrize(
    ("name", "shape", "test_samples", "classes"),
    [
        ("watch", (2460, 128, 6), 1145, 7),
        ("fashion_mnist", (20000, 28, 28), 5000, 10),
        ("japanese_vowels", (270, 29, 12), 370, 9),
    ],
)
def test_the_committed_sets_are_what_the_datasheet_says(name, shape, test_samples, classes):
    data = Data.load(DATA / f"{name}.npz")
    assert data.x_train.shape == shape
    assert len(data.x_test) == test_samples
    assert data.classes == classes
    assert f"`{name}.npz`" in (DATA / "README.md").read_text()


def arrays(**changed):
    good = {
        "x_train": np.zeros((6, 4)),
        "y_train": np.array([0, 1] * 3),
        "x_test": np.zeros((2, 4)),
        "y_test": np.array([0, 1]),
    }
    return good | changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_train": np.zeros((0, 4)), "y_train": np.zeros(0, int)}, r"x_train has shape \(0, 4\)"),
        ({"x_train": np.full((6, 4), np.nan)}, "NaN or Inf in 6 of 6"),
        ({"x_test": np.zeros((2, 5))}, "both must have the same"),
        ({"y_train": np.zeros(6, int)}, "only class 0"),
        ({"y_train": np.zeros(5, int)}, "a class index for each sample"),
        ({"y_train": np.array([0.0, 1.0] * 3)}, "integer class indices"),
        ({"y_test": np.array([-1, 0])}, "label -1"),
        ({"x_train": np.array([["a"] * 4] * 6)}, "expected numbers"),
    ],
)
def test_arrays_that_cannot_be_trained_with_are_refused(changed, message):
    with pytest.raises(DataError, match=message):
        Data(**arrays(**changed))


def test_a_saved_set_comes_back(tmp_path):
    np.savez(tmp_path / "set.npz", **arrays())
    data = Data.load(tmp_path / "set.npz")
    np.testing.assert_array_equal(data.y_train, [0, 1] * 3)


def test_a_part_is_a_fixed_choice_of_matching_rows():
    x = np.arange(400.0).reshape(200, 2)
    data = Data(x, (x[:, 0] // 2 % 2).astype(int), x, np.zeros(200, int))
    part = data.part(0.25)
    assert len(part.x_train) == len(part.y_test) == 50
    np.testing.assert_array_equal(part.y_train, part.x_train[:, 0] // 2 % 2)
    np.testing.assert_array_equal(part.x_train, data.part(0.25).x_train)


def test_files_that_are_no_data_set_are_refused(tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(DataError, match="no such file"):
        Data.load(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not a readable"):
        Data.load(path)
    np.savez(path, x_train=np.zeros(3))
    with pytest.raises(DataError, match="y_train, x_test, y_test missing"):
        Data.load(path)


def test_pickled_arrays_are_never_loaded(tmp_path):
    objects = np.array([{"a": 1}] * 6, dtype=object)
    np.savez(tmp_path / "set.npz", **arrays(x_train=objects))
    with pytest.raises(DataError, match=r"not a readable \.npz of plain arrays"):
        Data.load(tmp_path / "set.npz")


def test_standardised_channels_have_mean_0_and_spread_1_in_the_training_part():
    data = Data.load(DATA / "watch.npz").standardised()
    np.testing.assert_allclose(data.x_train.mean(axis=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(data.x_train.std(axis=(0, 1)), 1, atol=1e-4)
    assert data.x_test.dtype == np.float32
    assert abs(data.x_test.mean()) > 1e-4  # by the training part's, not its own
