"""Files with bytes cut off, removed or changed: opened anyway, or refused in one line."""

import random
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tf_keras

import leankeras
from leankeras.arrays import load_samples
from leankeras.data import Data
from leankeras.errors import KoptError
from leankeras.runtime import LiteRTModel, TFLiteFile, load_keras

DAMAGED = 12


def cut(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(len(content))]


def changed(content: bytes, dice: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(dice.choice([1, 3, 10])):
        made[dice.randrange(len(made))] = dice.randrange(256)
    return bytes(made)


def overwritten(content: bytes, dice: random.Random) -> bytes:
    start, length = dice.randrange(len(content)), dice.choice([4, 40, 400])
    return content[:start] + dice.randbytes(length) + content[start + length :]


def shortened(content: bytes, dice: random.Random) -> bytes:
    start, length = dice.randrange(len(content)), dice.choice([1, 4, 40])
    return content[:start] + content[start + length :]


def run_litert(path: Path) -> None:
    LiteRTModel(path)(np.zeros((1, 6, 2), "float32"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    made = [keras.layers.Conv1D(3, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((6, 2)), *made, keras.layers.Dense(2)])
    older = tf_keras.Sequential([tf_keras.Input((6, 2)), tf_keras.layers.LSTM(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a warning against HDF5
        for name, saved in (("keras3", model), ("keras2", older)):
            for ending in ("h5", "keras"):
                saved.save(folder / f"{name}.{ending}")
    leankeras.convert(model, folder / "model.tflite", "float32")
    x, y = np.random.default_rng(0).normal(size=(20, 6, 2)), np.arange(20) % 2
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "compressed.npz", **arrays)
    return folder


@pytest.mark.filterwarnings("ignore")  # warnings of Keras and NumPy about damaged numbers
@pytest.mark.parametrize("damage", [cut, changed, overwritten, shortened])
@pytest.mark.parametrize(
    ("name", "openings"),
    [
        *((f"keras{n}.{ending}", [load_keras]) for n in (2, 3) for ending in ("h5", "keras")),
        ("model.tflite", [TFLiteFile, run_litert]),
        ("plain.npz", [Data.load, load_samples]),
        ("compressed.npz", [Data.load, load_samples]),
    ],
)
def test_a_damaged_file_is_refused_in_a_line(name, openings, damage, folder, tmp_path):
    dice, content = random.Random(f"{name} {damage.__name__}"), (folder / name).read_bytes()
    refused = []
    for _ in range(DAMAGED):
        path = tmp_path / name
        path.write_bytes(damage(content, dice))
        for opening in openings:
            try:
                opening(path)
            except KoptError as error:
                refused.append(str(error))
    assert refused
    assert not any("\n" in line for line in refused)
