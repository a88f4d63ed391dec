"""Models, samples and files for the deployment tests."""

import keras
import numpy as np
import pytest

from leankeras.conversion.tflite import convert


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(24, 16, 2)).astype("float32")


@pytest.fixture(scope="session")
def model() -> keras.Model:
    """Layers whose names collide with the numbers that TensorFlow gives scopes."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 2))
    x = keras.layers.Conv1D(16, 3, activation="relu", name="dense")(inputs)
    x = keras.layers.LayerNormalization(name="dense_1")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(32, activation="relu", name="hidden")(x)
    outputs = keras.layers.Dense(3, activation="softmax", name="head")(x)
    return keras.Model(inputs, outputs, name="net")


@pytest.fixture(scope="session")
def converted(model, samples, tmp_path_factory):
    """The model in modes float32, int8 and int8-io, as Conversions by mode."""
    directory = tmp_path_factory.mktemp("converted")
    return {
        mode: convert(model, directory / f"{mode}.tflite", mode, samples)
        for mode in ("float32", "int8", "int8-io")
    }
