"""Files from strangers: each gets one clear answer and nothing in them is run."""

import zipfile

import keras
import numpy as np
import pytest

from leankeras.errors import ModelError
from leankeras.runtime.archive import load_keras


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    return path


def test_the_model_comes_back(model, saved, samples):
    assert np.array_equal(load_keras(saved)(samples), model(samples))


def truncated(path):
    path.write_bytes(path.read_bytes()[:500])


def emptied(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not an archive")


def weights_only(path):
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    path.write_bytes(weights)


def tflite(path):
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(40))


def stranger(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("setup.py", "raise SystemExit")


def without_weights(path):
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)


def removed(path):
    path.unlink()


def lambda_layer(path):
    double = keras.layers.Lambda(lambda x: 2 * x, output_shape=(4,))
    keras.Sequential([keras.Input((4,)), double]).save(path)


def unknown_class(path):
    class Unknown(keras.layers.Layer):
        pass

    keras.Sequential([keras.Input((4,)), Unknown()]).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "damaged or not a .keras file"),
        (emptied, "damaged or not a .keras file"),
        (text, "damaged or not a .keras file"),
        (weights_only, "HDF5"),
        (tflite, "already a .tflite"),
        (stranger, "also holds setup.py"),
        (without_weights, "lacks metadata.json, model.weights.h5"),
        (removed, "no such file"),
        (lambda_layer, "Lambda layer, which is code and is not run"),
        (unknown_class, "import the module that defines it"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(saved, damage, message):
    damage(saved)
    with pytest.raises(ModelError, match=message) as caught:
        load_keras(saved)
    assert "\n" not in str(caught.value)


def test_another_ending_is_refused(saved):
    renamed = saved.rename(saved.with_suffix(".pt"))
    with pytest.raises(ModelError, match=r"not a \.keras file"):
        load_keras(renamed)
