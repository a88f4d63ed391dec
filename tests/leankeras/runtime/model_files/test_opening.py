"""Files from strangers: each gets one clear answer and nothing in them is run."""

import warnings
import zipfile

import keras
import numpy as np
import pytest
from keras.src.applications.convnext import LayerScale, StochasticDepth

from leankeras.errors import ModelError
from leankeras.runtime import load_keras


@pytest.fixture
def saved(small_model, tmp_path):
    path = tmp_path / "model.keras"
    small_model.save(path)
    return path


def test_the_model_comes_back(small_model, saved, blobs):
    assert np.array_equal(load_keras(saved)(blobs.x_test), small_model(blobs.x_test))


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


def pointer(path):
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n")


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
        (weights_only, "holds weights only; build the model, load them"),
        (pointer, "a Git LFS pointer, not the model itself; fetch it with git lfs pull"),
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
    with pytest.raises(ModelError, match=r"not a \.keras or \.h5 file"):
        load_keras(renamed)


def test_an_archive_under_another_name_is_opened_all_the_same(small_model, saved, blobs):
    renamed = saved.rename(saved.with_suffix(".h5"))
    assert np.array_equal(load_keras(renamed)(blobs.x_test), small_model(blobs.x_test))


def nested():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    inner.trainable = False
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))


def operations():
    inputs = keras.Input((4, 2))
    x = keras.ops.softmax(inputs, axis=1)[:, 1:] * 2 + 1
    return keras.Model(inputs, keras.ops.mean(x, axis=1))


def recurrent():
    inputs = keras.Input((5, 3))
    x, h, c = keras.layers.LSTM(3, return_sequences=True, return_state=True)(inputs)
    x = keras.layers.Bidirectional(keras.layers.GRU(2, dropout=0.1))(x, initial_state=None)
    return keras.Model(inputs, {"x": x, "h": h, "c": c})


@keras.saving.register_keras_serializable("tests_of_opening")
class Nameless(keras.layers.Layer):
    """Gives back its own arguments alone."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],))

    def call(self, inputs):
        return self.factor * self.scale * inputs

    def get_config(self):
        return {"factor": self.factor}


def nameless():
    inputs = keras.Input((4,))
    return keras.Model(inputs, Nameless(3)(keras.layers.Dense(4)(Nameless(2)(inputs))))


@keras.saving.register_keras_serializable("tests_of_opening", "StochasticDepth")
class NamedLikeKerass(keras.layers.Layer):
    """Registered under the bare name of a layer that a network of Keras's has."""


def layers_of_convnext():
    inputs = keras.Input((4,))
    return keras.Model(inputs, StochasticDepth(0.1)(LayerScale(0.5, 4)(inputs)))


@pytest.mark.parametrize("build", [nested, operations, recurrent, nameless, layers_of_convnext])
def test_hdf5_of_keras_3(build, tmp_path):
    model = build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "model.h5")
    opened = load_keras(tmp_path / "model.h5")
    x = np.random.default_rng(0).normal(size=(2, *model.inputs[0].shape[1:]))
    for was, now in zip(keras.tree.flatten(model(x)), keras.tree.flatten(opened(x)), strict=True):
        np.testing.assert_allclose(now, was, atol=1e-6)
    assert len(opened.trainable_weights) == len(model.trainable_weights)
