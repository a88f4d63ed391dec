"""Small real models, data and files that several test modules use."""

import os
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from leankeras.data import Data
from leankeras.runtime import latency
from leankeras.training_progress import watch_training

# Minutes long, each of them.
LONG = ("test_notebooks.py", "test_generated.py", "test_lab.py", "test_learner.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the tests, the long files begin early, so that none is left alone."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def brief_measurements(monkeypatch) -> None:
    """How precise a latency is matters only to tests that set the time themselves."""
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def unwatched_training() -> Iterator[None]:
    """A stage that a test opens in this process watches every training after it."""
    yield
    watch_training(None)


@pytest.fixture(scope="session")
def blobs() -> Data:
    """Two channels of noise, the class being the one with the larger mean: learnt in an epoch."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 160)
    x = random.normal(size=(160, 16, 2)).astype(np.float32)
    x[np.arange(160), :, y] += 1.0
    return Data(x[:128], y[:128], x[128:], y[128:])


@pytest.fixture
def small_model() -> keras.Model:
    """A convolutional classifier for :func:`blobs`, untrained."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((16, 2))
    x = keras.layers.Conv1D(8, 3, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.8, name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(x), name="small")
