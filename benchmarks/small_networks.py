"""Small networks trained to the end on real data: what the default chain makes of them.

    uv run python benchmarks/small_networks.py [NAME ...] [--quick] [-o small_networks.csv]

Each network is trained as its owner would have done it, saved with its data, and given to
``kopt run`` with no other setting. The chain should lose no more than its budget, and its file
should not be slower than the plain float32 one. About ten minutes a network; with ``--quick``,
which trains on a quarter of the samples for two epochs, about three.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

import click
import keras
import numpy as np
import pandas as pd
from keras import layers

from kopt.project import DATA
from kopt.workspace.directory import Workspace
from leankeras.data import Data
from leankeras.training import fit

Network = Callable[[], tuple[keras.Model, Data, int]]


def mlp_on_sensor_features() -> tuple[keras.Model, Data, int]:
    """Mean, deviation, extremes and mean change of each channel of a watch's motion sensors."""
    parts = (np.mean, np.std, np.min, np.max, lambda x, axis: abs(np.diff(x, axis=axis)).mean(axis))
    raw = Data.load(DATA / "watch.npz")
    data = raw.with_samples(lambda x: np.concatenate([part(x, axis=1) for part in parts], axis=1))
    inputs = keras.Input((30,))
    x = layers.Dense(64, activation="relu")(inputs)
    x = layers.Dropout(0.2)(layers.Dense(32, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(7, activation="softmax")(x)), data.standardised(), 60


def cnn_on_pictures() -> tuple[keras.Model, Data, int]:
    """Two convolutions and two dense layers, as in a first tutorial."""
    raw = Data.load(DATA / "fashion_mnist.npz")
    data = raw.with_samples(lambda x: x[..., np.newaxis].astype(np.float32) / 255)
    inputs = keras.Input((28, 28, 1))
    x = layers.MaxPooling2D()(layers.Conv2D(16, 3, activation="relu")(inputs))
    x = layers.MaxPooling2D()(layers.Conv2D(32, 3, activation="relu")(x))
    x = layers.Dropout(0.3)(layers.Dense(64, activation="relu")(layers.Flatten()(x)))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x)), data, 15


def cnn_on_windows() -> tuple[keras.Model, Data, int]:
    """Three 1-D convolutions on the windows of a watch's motion sensors."""
    data = Data.load(DATA / "watch.npz").standardised()
    inputs = x = keras.Input((128, 6))
    for width in (16, 32, 32):
        x = layers.Conv1D(width, 5, padding="same", use_bias=False)(x)
        x = layers.MaxPooling1D()(layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x)))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, layers.Dense(7, activation="softmax")(x)), data, 40


NETWORKS: dict[str, Network] = {
    "mlp": mlp_on_sensor_features,
    "pictures": cnn_on_pictures,
    "windows": cnn_on_windows,
}


def outcome(name: str, quick: bool, folder: Path) -> dict[str, object]:
    """What the chain makes of a network: a row of the table."""
    keras.utils.set_random_seed(0)
    model, data, epochs = NETWORKS[name]()
    fit(model, data, epochs)
    model.save(folder / f"{name}.keras")
    arrays = {key: array for key, array in vars(data).items() if isinstance(array, np.ndarray)}
    np.savez(folder / f"{name}.npz", **arrays)
    files = ["--model", folder / f"{name}.keras", "--data", folder / f"{name}.npz"]
    command = [sys.executable, "-m", "kopt", "run", *files, *(["--quick"] if quick else [])]
    started = time.monotonic()
    run([*command, "--run-dir", folder / "run"], check=True)
    plain, *_, last = Workspace(folder / "run").records()
    lost, low, high = (100 * last.test[column] for column in last.merit.columns[1:])
    ratio, fast, slow = (last.latency[each] for each in ("ratio", "ratio_low", "ratio_high"))
    return {
        "network": name,
        "parameters": model.count_params(),
        "accuracy, %": round(100 * plain.test["accuracy"], 1),
        "points lost": f"{lost:.1f} [{low:.1f}, {high:.1f}]",
        "latency, float32 = 1": f"{ratio:.2f} [{fast:.2f}, {slow:.2f}]",
        "kB": f"{plain.size_bytes / 1000:.1f} -> {last.size_bytes / 1000:.1f}",
        "accuracy budget": last.within_budget["accuracy"],
        "answer": last.answer or "the chain's file",
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--quick", is_flag=True)
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(names: tuple[str, ...], quick: bool, output: Path | None) -> None:
    """Run networks (all by default) through the chain and print the table."""
    rows = []
    for name in names or NETWORKS:
        with TemporaryDirectory() as folder:
            rows.append(outcome(name, quick, Path(folder)))
        table = pd.DataFrame(rows)
        print(table.to_string(index=False), flush=True)
        if output:
            table.to_csv(output, index=False)


if __name__ == "__main__":
    main()
