"""Models of every task through the whole chain: the table of tasks in docs/coverage.md.

    uv run python benchmarks/tasks.py [KIND ...] [-o tasks.csv]

Each model is trained for a few epochs on invented data that it can learn, saved, and given to
``kopt run --quick`` as anyone would give it, with an ``.npz``. About three minutes a kind.
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

from kopt.workspace.directory import Workspace

TRAIN, TEST, EPOCHS = 1200, 400, 8
Kind = Callable[[np.random.Generator], tuple[keras.Model, dict[str, np.ndarray]]]


def split(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of TRAIN + TEST samples as the members of an .npz; ``__`` stands for ``/``."""
    members = {}
    for name, array in arrays.items():
        kind, _, inner = name.partition("__")
        for part, rows in (("train", slice(TRAIN)), ("test", slice(TRAIN, None))):
            members[f"{kind}_{part}{'/' * bool(inner)}{inner}"] = array[rows]
    return members


def series(random: np.random.Generator, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Noisy waves of one frequency for each class, shape ``(n, 32, 2)``, and the classes."""
    y = random.integers(0, classes, TRAIN + TEST)
    time_steps = np.arange(32)[:, None] + random.uniform(0, 32, (len(y), 1, 2))
    waves = np.sin(2 * np.pi * (y[:, None, None] + 1) * time_steps / 32)
    return (waves + 0.5 * random.normal(size=waves.shape)).astype("float32"), y


def pictures(random: np.random.Generator, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures of a bright disc or square, shape ``(n, size, size, 1)``, and their marks.

    Marks are 0 for the ground, 1 for a disc and 2 for a square.
    """
    count = TRAIN + TEST
    rows, columns = np.mgrid[:size, :size]
    y, x = random.uniform(4, size - 4, (2, count))
    kind = random.integers(1, 3, count)
    dy, dx = abs(rows - y[:, None, None]), abs(columns - x[:, None, None])
    inside = np.where(kind[:, None, None] == 1, dy**2 + dx**2 < 12, np.maximum(dy, dx) < 3)
    marks = inside * kind[:, None, None]
    noise = 0.3 * random.normal(size=marks.shape)
    return (inside + noise)[..., None].astype("float32"), marks.astype("int64")


def body(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Two convolutions and the mean over time."""
    x = layers.Conv1D(16, 5, padding="same", activation="relu")(inputs)
    x = layers.BatchNormalization()(layers.Conv1D(16, 5, padding="same")(x))
    return layers.GlobalAveragePooling1D()(layers.ReLU()(x))


def marking(inputs: keras.KerasTensor, outputs: int, activation: str) -> keras.Model:
    """A small network that keeps the picture's size."""
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    deep = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Concatenate()([x, layers.UpSampling2D()(deep)])
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2D(outputs, 1, activation=activation)(x))


def regression(random):
    x, y = series(random)
    inputs = keras.Input((32, 2))
    return keras.Model(inputs, layers.Dense(1)(body(inputs))), split(x=x, y=y + x.mean((1, 2)))


def one_sigmoid(random):
    x, y = series(random, 2)
    inputs = keras.Input((32, 2))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(body(inputs))), split(x=x, y=y)


def several_labels(random):
    one, y = series(random, 2)
    other, z = series(random, 2)
    x = np.concatenate([one, other], axis=-1)
    inputs = keras.Input((32, 4))
    outputs = layers.Dense(3, activation="sigmoid")(body(inputs))
    return keras.Model(inputs, outputs), split(x=x, y=np.stack([y, z, y & z], axis=1))


def one_hot(random):
    x, y = series(random)
    inputs = keras.Input((32, 2))
    outputs = layers.Dense(3, activation="softmax")(body(inputs))
    return keras.Model(inputs, outputs), split(x=x, y=np.eye(3)[y])


def marks(random):
    x, y = pictures(random)
    return marking(keras.Input((16, 16, 1)), 1, "sigmoid"), split(x=x, y=y > 0)


def marks_by_class(random):
    x, y = pictures(random)
    return marking(keras.Input((16, 16, 1)), 3, "softmax"), split(x=x, y=y)


def open_size(random):
    x, y = pictures(random)
    inputs = keras.Input((None, None, 1))
    h = layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    h = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(h)
    outputs = layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling2D()(h))
    return keras.Model(inputs, outputs), split(x=x, y=y.max((1, 2)))


def autoencoder(random):
    x, _ = series(random)
    inputs = keras.Input((32, 2))
    h = layers.Conv1D(8, 5, strides=2, padding="same", activation="relu")(inputs)
    h = layers.UpSampling1D(2)(layers.Conv1D(8, 5, padding="same", activation="relu")(h))
    return keras.Model(inputs, layers.Conv1D(2, 5, padding="same")(h)), split(x=x)


def anomalies(random):
    model, members = autoencoder(random)
    x, y = members["x_test"], random.integers(0, 2, TEST)
    members["x_test"] = np.where(y[:, None, None] == 1, x + random.normal(size=x.shape), x)
    return model, members | {"y_test": y}


def two_inputs(random):
    x, y = series(random, 2)
    other = random.normal(size=(len(x), 5)).astype("float32")
    inputs = {
        "wave": keras.Input((32, 2), name="wave"),
        "numbers": keras.Input((5,), name="numbers"),
    }
    joined = layers.Concatenate()([body(inputs["wave"]), inputs["numbers"]])
    outputs = layers.Dense(4, activation="softmax")(layers.Dense(16, activation="relu")(joined))
    return keras.Model(inputs, outputs), split(
        x__wave=x, x__numbers=other, y=2 * y + (other[:, 0] > 0)
    )


def two_outputs(random):
    x, y = series(random)
    inputs = keras.Input((32, 2))
    h = body(inputs)
    outputs = {"kind": layers.Dense(3, name="kind")(h), "level": layers.Dense(1, name="level")(h)}
    return keras.Model(inputs, outputs), split(
        x=x, y__kind=y, y__level=abs(x).mean((1, 2)).astype("float32")
    )


def tagging(random):
    x = random.normal(size=(TRAIN + TEST, 24, 3)).astype("float32")
    y = x.cumsum(1)[..., :2].argmax(-1) + (x[..., 2] > 1)
    inputs = keras.Input((24, 3))
    h = layers.Bidirectional(layers.GRU(12, return_sequences=True))(inputs)
    return keras.Model(inputs, layers.Dense(3)(h)), split(x=x, y=y)


def integer_pixels(random):
    x, y = pictures(random)
    x = np.clip(80 * x + 80, 0, 255).astype("uint8")
    inputs = keras.Input((16, 16, 1), dtype="uint8")
    h = layers.Conv2D(12, 3, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    h = layers.GlobalMaxPooling2D()(layers.Conv2D(16, 3, activation="relu")(h))
    return keras.Model(inputs, layers.Dense(3)(h)), split(x=x, y=y.max((1, 2)))


def tokens(random):
    x = random.integers(1, 20, (TRAIN + TEST, 12)).astype("int32")
    inputs = keras.Input((12,), dtype="int32")
    h = layers.Conv1D(12, 3, activation="relu")(layers.Embedding(20, 8)(inputs))
    outputs = layers.Dense(2)(layers.GlobalMaxPooling1D()(h))
    return keras.Model(inputs, outputs), split(
        x=x, y=((x == 3).any(1) | (x == 7).any(1)).astype(int)
    )


def transfer(random):
    x, y = pictures(random)
    inputs = keras.Input((16, 16, 1))
    h = layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    h = layers.DepthwiseConv2D(3, strides=2, padding="same")(h)
    trunk = keras.Model(inputs, layers.ReLU()(layers.Conv2D(24, 1)(h)), name="trunk")
    outer = keras.Input((16, 16, 1))
    h = layers.Dropout(0.2)(layers.GlobalMaxPooling2D()(trunk(outer, training=False)))
    return keras.Model(outer, layers.Dense(3, activation="softmax")(h)), split(x=x, y=y.max((1, 2)))


KINDS: dict[str, Kind] = {
    "regression": regression,
    "one sigmoid output": one_sigmoid,
    "several labels": several_labels,
    "one-hot labels": one_hot,
    "segmentation, one sigmoid channel": marks,
    "segmentation by class": marks_by_class,
    "autoencoder": autoencoder,
    "autoencoder, anomalies": anomalies,
    "two inputs": two_inputs,
    "two outputs": two_outputs,
    "tagging, Bidirectional GRU": tagging,
    "open picture size": open_size,
    "uint8 pixels, Rescaling inside": integer_pixels,
    "token ids, Embedding": tokens,
    "transfer, nested network": transfer,
}


def write(kind: str, folder: Path) -> tuple[Path, Path]:
    """Train a model of a kind for a few epochs, and write it and its data."""
    from leankeras.data import Data
    from leankeras.training import fit

    keras.utils.set_random_seed(0)
    model, members = KINDS[kind](np.random.default_rng(0))
    name = "".join(letter if letter.isalnum() else "_" for letter in kind)
    paths = folder / f"{name}.keras", folder / f"{name}.npz"
    np.savez(paths[1], **members)
    fixed = keras.Input((16, 16, 1)) if kind == "open picture size" else None
    trained = keras.Model(fixed, model(fixed)) if fixed is not None else model
    fit(trained, Data.load(paths[1]), EPOCHS, learning_rate=3e-3)
    model.save(paths[0])
    return paths


def outcome(kind: str, folder: Path) -> dict[str, object]:
    """What the chain makes of a kind: a row of the table."""
    model, data = write(kind, folder)
    command = [sys.executable, "-m", "kopt", "run", "--model", model, "--data", data, "--quick"]
    started = time.monotonic()
    ended = run([*command, "--run-dir", folder / "run"], capture_output=True, text=True)
    records = Workspace(folder / "run").records()
    row: dict[str, object] = {"kind": kind, "seconds": round(time.monotonic() - started)}
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        return row | {"stages": len(records), "answer": lines[-1] if lines else "no message"}
    first, last = records[0], records[-1]
    merit = last.merit
    low, high = (100 * last.test[name] for name in ("lost_low", "lost_high"))
    return row | {
        "stages": len(records),
        "score": merit.name,
        "before": round(merit.shown(first.test[merit.name]), 3),
        "after": round(merit.shown(last.test[merit.name]), 3),
        "lost": f"{100 * last.test[merit.columns[1]]:.1f} [{low:.1f}, {high:.1f}] {merit.unit}",
        "times faster": round(1 / last.latency["ratio"], 2),
        "answer": "through",
    }


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)))
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(kinds: tuple[str, ...], output: Path | None) -> None:
    """Run KINDS (all by default) through the chain and print the table."""
    rows = []
    for kind in kinds or KINDS:
        with TemporaryDirectory() as folder:
            rows.append(outcome(kind, Path(folder)))
        print(rows[-1], flush=True)
        table = pd.DataFrame(rows)
        if output:
            table.to_csv(output, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
