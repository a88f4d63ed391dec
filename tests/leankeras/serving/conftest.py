"""A file that can be run in batches, and one that cannot, for every test of serving."""

import keras
import numpy as np
import pytest

from leankeras.conversion import convert
from leankeras.serving import Server, Serving, open_engine


@pytest.fixture(scope="session")
def dense_file(tmp_path_factory):
    """Five inputs, three outputs; large enough that 256 samples take a few milliseconds."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(400, activation="relu") for _ in range(4)]
    model = keras.Sequential([keras.Input((5,)), *layers, keras.layers.Dense(3)])
    path = tmp_path_factory.mktemp("dense") / "dense.tflite"
    convert(model, path, mode="float32")
    return path


@pytest.fixture(scope="session")
def fixed_file(tmp_path_factory):
    """A Flatten that the converter turns into a reshape to one sample; two inputs."""
    keras.utils.set_random_seed(0)
    first, second = keras.Input((4, 3), name="first"), keras.Input((2,), name="second")
    flat = keras.layers.Flatten()(keras.layers.Conv1D(8, 3, padding="same")(first))
    outputs = keras.layers.Dense(2)(keras.layers.Concatenate()([flat, second]))
    path = tmp_path_factory.mktemp("fixed") / "fixed.tflite"
    convert(keras.Model([first, second], outputs), path, mode="float32")
    return path


@pytest.fixture(scope="session")
def dense_samples():
    return np.random.default_rng(0).standard_normal((256, 5)).astype(np.float32)


@pytest.fixture(scope="session")
def dense_answers(dense_file, dense_samples):
    """The file's own, one by one."""
    engine = open_engine(dense_file)
    name = engine.inputs[0].name
    rows = [engine({name: dense_samples[k : k + 1]}) for k in range(len(dense_samples))]
    return np.concatenate([row[engine.outputs[0].name] for row in rows])


@pytest.fixture(scope="package")
def batching_server(dense_file):
    with Server(dense_file, Serving(batch_size=8, batch_ms=2)) as server:
        yield server
