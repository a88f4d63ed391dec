import zipfile

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
    assert (len(data.x_train) + len(data.x_val), *data.x_train.shape[1:]) == shape
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
        ({"y_train": np.zeros(6, int)}, "y_train holds only 0"),
        ({"y_train": np.zeros(5, int)}, "a label for each sample"),
        ({"y_train": np.array([0.5, np.nan] * 3)}, "y_train holds NaN or Inf in 3 of 6 labels"),
        ({"y_test": None}, "y_train without y_test"),
        ({"x_test": {"a": np.zeros((2, 4))}}, "x_train has one array and x_test a"),
        ({"y_train": None, "y_test": np.array([0, 2])}, "expected 1 for each test sample"),
        ({"x_train": np.array([["a"] * 4] * 6)}, "expected numbers"),
        ({"x_val": np.zeros((2, 4))}, "x_val and y_val go together"),
        ({"x_val": np.zeros((2, 5)), "y_val": np.array([0, 1])}, "x_val of \\(5,\\)"),
        ({"x_val": np.zeros((0, 4)), "y_val": np.zeros(0, int)}, r"x_val has shape \(0, 4\)"),
        ({"groups_train": np.zeros(5)}, r"groups_train has shape \(5,\)"),
        ({"groups_train": np.zeros(6)}, "no group can be spared"),
        ({"groups_train": np.array([0, 1] * 3)}, "no group can be spared"),
        (
            {"x_train": np.zeros((2, 4)), "y_train": np.array([0, 1])},
            "no class has a second sample",
        ),
    ],
)
def test_arrays_that_cannot_be_trained_with_are_refused(changed, message):
    with pytest.raises(DataError, match=message):
        Data(**arrays(**changed))


def test_a_saved_set_comes_back(tmp_path):
    np.savez(tmp_path / "set.npz", **arrays())
    data = Data.load(tmp_path / "set.npz")
    np.testing.assert_array_equal(np.bincount(data.y_train), [2, 2])
    np.testing.assert_array_equal(np.sort(data.y_val), [0, 1])


def test_a_part_is_a_fixed_choice_of_matching_rows():
    x = np.arange(400.0).reshape(200, 2)
    data = Data(x, (x[:, 0] // 2 % 2).astype(int), x, np.zeros(200, int))
    part = data.part(0.25)
    assert [len(part.x_train), len(part.x_val), len(part.y_test)] == [40, 10, 50]
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
    with pytest.raises(DataError, match="x_test missing of x_train"):
        Data.load(path)


def test_a_member_that_is_cut_off_is_told_in_a_line(tmp_path):
    np.savez(tmp_path / "whole.npz", **arrays())
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    for length in (0, 4, 100, 140):
        with zipfile.ZipFile(tmp_path / "cut.npz", "w") as cut:
            for name, content in members.items():
                cut.writestr(name, content[:length] if name == "x_train.npy" else content)
        with pytest.raises(DataError, match=r"cut\.npz: (not a readable|x_train)") as refused:
            Data.load(tmp_path / "cut.npz")
        assert "\n" not in str(refused.value)


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


def test_a_fifth_of_every_class_is_set_aside_to_choose_by():
    x = np.arange(300.0).reshape(150, 2)
    y = np.repeat([0, 1, 2], [100, 40, 10])
    data = Data(x, y, x, y)
    np.testing.assert_array_equal(np.bincount(data.y_val), [20, 8, 2])
    assert not set(data.x_val[:, 0]) & set(data.x_train[:, 0])
    np.testing.assert_array_equal(data.x_val, Data(x, y, x, y).x_val)


def test_a_group_is_on_one_side_only():
    groups = np.repeat(np.arange(8), 20)
    x, y = np.stack([groups, groups], axis=1).astype(float), np.arange(160) % 2
    data = Data(x, y, x, y, groups_train=groups)
    assert set(data.x_val[:, 0]).isdisjoint(data.x_train[:, 0])
    assert len(data.x_val) == 40
    np.testing.assert_array_equal(data.groups_train, data.x_train[:, 0])
    assert set(data.part(0.5).x_val[:, 0]).isdisjoint(data.part(0.5).x_train[:, 0])


def test_a_group_that_alone_has_a_class_is_trained_on():
    y = np.repeat([0, 1, 1, 0, 1], 10) % 2
    y[:10] = 2
    groups = np.repeat(np.arange(5), 10)
    data = Data(np.zeros((50, 1)), y, np.zeros((50, 1)), y, groups_train=groups)
    assert 2 in data.y_train
    assert 2 not in data.y_val


def test_a_validation_part_of_ones_own_is_kept_as_it_is():
    own = {"x_val": np.ones((3, 4)), "y_val": np.array([0, 1, 1])}
    data = Data(**arrays(**own))
    assert len(data.x_train) == 6
    np.testing.assert_array_equal(data.x_val, own["x_val"])


def test_calibration_samples_are_spread_over_the_training_part():
    x = np.arange(100.0)[:, None]
    data = Data(x, np.arange(100) % 2, x, np.arange(100) % 2, x_val=x, y_val=np.arange(100) % 2)
    np.testing.assert_array_equal(data.calibration(12)[:, 0], 9 * np.arange(12))
    assert len(data.calibration(1000)) == 100


def test_several_inputs_and_outputs_are_arrays_by_name(tmp_path):
    x = {"a": np.arange(40.0).reshape(20, 2), "b": np.arange(20)[:, None]}
    y = {"kind": np.arange(20) % 2, "level": np.arange(20.0)}
    members = {f"x_train/{name}": array for name, array in x.items()}
    members |= {f"y_train/{name}": array for name, array in y.items()}
    members |= {name.replace("train", "test"): array[:6] for name, array in members.items()}
    np.savez(tmp_path / "set.npz", **members)
    data = Data.load(tmp_path / "set.npz")
    assert (len(data.x_train["a"]), len(data.x_val["b"]), len(data.y_test["kind"])) == (16, 4, 6)
    np.testing.assert_array_equal(data.x_train["a"][:, 0] / 2, data.y_train["level"])
    np.testing.assert_array_equal(np.bincount(data.y_val["kind"]), [2, 2])
    half = data.part(0.5)
    np.testing.assert_array_equal(half.x_train["b"][:, 0], half.y_train["level"])
    calibration = data.calibration(3)
    np.testing.assert_array_equal(calibration["a"][:, 0] / 2, calibration["b"][:, 0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_train": {"a": np.zeros((6, 2)), "b": np.zeros((5, 2))}}, "and others of it 6"),
        ({"y_train": {"k": np.array([0, 1] * 3)}}, "y_train has k and y_test one array"),
    ],
)
def test_arrays_of_unequal_length_or_structure_are_refused(changed, message):
    test = (
        {"x_test": {"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}} if "x_train" in changed else {}
    )
    with pytest.raises(DataError, match=message):
        Data(**arrays(**changed, **test))


def test_without_labels_the_inputs_are_to_be_the_outputs():
    x = np.random.default_rng(0).normal(size=(30, 4))
    data = Data(x, None, x[:9], None)
    assert data.labels("train") is data.x_train
    assert (len(data.x_train), len(data.x_val), len(data.x_test)) == (24, 6, 9)
    assert data.evidence is None


def test_anomalies_are_in_the_test_part_of_which_a_third_is_set_aside():
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30) % 3 == 0
    data = Data(np.zeros((50, 2)), None, x, y.astype(int))
    assert (len(data.x_train), len(data.x_val), len(data.x_test)) == (50, 10, 20)
    np.testing.assert_array_equal(data.x_val[:, 0] // 2 % 3 == 0, data.y_val == 1)
    assert set(data.labels("test")) == {"input", "anomaly"}
    assert data.labels("train") is data.x_train


@pytest.mark.parametrize("labels", [lambda y: y, lambda y: y[:, None], lambda y: np.eye(3)[y]])
def test_the_classes_of_samples_are_read_from_indices_and_one_hot_labels(labels):
    y = np.array([0, 1, 2] * 4)
    data = Data(np.zeros((12, 4)), labels(y), np.zeros((12, 4)), labels(y))
    assert data.classes == 3
    np.testing.assert_array_equal(data.class_indices("test"), y)
