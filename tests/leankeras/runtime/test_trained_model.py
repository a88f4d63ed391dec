import keras
import numpy as np
import pytest

from leankeras.data import Data
from leankeras.errors import KoptError
from leankeras.runtime import load_sized, load_trained
from tests.saving import save_data


@pytest.fixture
def files(small_model, blobs, tmp_path):
    """A model and its data, each in a file."""
    model, data = tmp_path / "model.keras", tmp_path / "data.npz"
    small_model.save(model)
    save_data(data, blobs)
    return model, data


def test_a_model_that_fits_its_data_is_opened_as_it_is(files, small_model, blobs):
    path, arrays = files
    model, data = load_trained(path, Data.load(arrays))
    np.testing.assert_array_equal(data.x_train, blobs.x_train)
    assert data.task.name == "classification"
    for kept, weight in zip(model.weights, small_model.weights, strict=True):
        np.testing.assert_array_equal(kept, weight)


def test_lists_of_one_are_the_one(files):
    model, data = files
    inputs = keras.Input((16, 2))
    x = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    keras.Model([inputs], [x]).save(model)
    assert load_trained(model, Data.load(data))[0].output_shape == (None, 2)


def too_many_classes(data):
    return data | {"y_test": data["y_test"] + 5}


def other_shape(data):
    return data | {name: data[name][:, :-1, :1] for name in ("x_train", "x_val", "x_test")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (too_many_classes, "y_test does not fit the task classification: labels run from 5 to 6"),
        (other_shape, r"does not take samples of shape \(15, 1\)"),
        (lambda data: {"x": data["x_train"]}, "x_train, x_test missing of x_train, y_train"),
        (
            lambda data: data | {"y_train": data["y_train"][1:]},
            r"expected \(103, \.\.\.\), a label for each sample",
        ),
    ],
)
def test_data_that_does_not_fit_a_trained_model_is_refused(files, change, message):
    model, data = files
    np.savez(data, **change(dict(np.load(data))))
    with pytest.raises(KoptError, match=message):
        load_trained(model, Data.load(data))


def test_an_open_size_becomes_that_of_the_data(files):
    model, data = files
    inputs = keras.Input((None, 2))
    pooled = keras.layers.GlobalAveragePooling1D()(inputs)
    keras.Model(inputs, keras.layers.Dense(2)(pooled)).save(model)
    built = load_sized(model, Data.load(data).x_train)
    assert built.input_shape == (None, 16, 2)
    x = np.load(data)["x_test"]
    np.testing.assert_array_equal(built(x), keras.models.load_model(model)(x))


def test_a_subclassed_model_is_refused(files):
    model, data = files

    @keras.saving.register_keras_serializable("trained_tests")
    class WithoutGraph(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = keras.layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs[:, 0])

    subclassed = WithoutGraph()
    subclassed(np.zeros((1, 16, 2), "float32"))
    subclassed.save(model)
    with pytest.raises(KoptError, match=r"subclassed model .WithoutGraph.*expected a Functional"):
        load_trained(model, Data.load(data))


def test_a_model_of_two_outputs_needs_labels_for_both(files):
    model, data = files
    inputs = keras.Input((16, 2))
    flat = keras.layers.Flatten()(inputs)
    outputs = [keras.layers.Dense(2, name="kind")(flat), keras.layers.Dense(1, name="level")(flat)]
    keras.Model(inputs, outputs).save(model)
    with pytest.raises(KoptError, match="the model has the outputs output_0, output_1"):
        load_trained(model, Data.load(data))
    arrays = dict(np.load(data))
    for part in ("train", "val", "test"):
        arrays[f"y_{part}/kind"] = arrays.pop(f"y_{part}")
        arrays[f"y_{part}/level"] = arrays[f"x_{part}"].mean((1, 2))
    np.savez(data, **arrays)
    _, found = load_trained(model, Data.load(data))
    assert str(found.task).startswith("output_0: classification, judged by accuracy; ")
