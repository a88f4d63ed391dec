"""Cells that show the panels of 03 and 06, with the figures of a run of the case signal.

The function that makes a point is real, but uses a smaller model.
"""

PANELS = [
    """
import gzip

import kopt
from leankeras.budget import Budget
from kopt.display.panels import ParetoPanel, TradeoffPanel
from leankeras.task import Merit

import keras
import numpy as np
import pandas as pd

inputs = keras.Input((16, 2))
x = keras.layers.Conv1D(32, 3, activation="relu", name="conv")(inputs)
x = keras.layers.GlobalAveragePooling1D()(x)
model = keras.Model(inputs, keras.layers.Dense(2)(x))
x_test = np.random.default_rng(0).normal(size=(32, 16, 2)).astype("float32")
y_test = np.arange(32) % 2


def measure(made):
    models = {0.0: model, **made}
    files = {at: kopt.convert(each, f"{at}.tflite", "float32").path for at, each in models.items()}
    latency = kopt.compare_latency(files, x_test[:1]).table.us
    return pd.DataFrame({
        at: {
            "accuracy": kopt.evaluate(path, x_test, y_test)["accuracy"],
            "gzip_kb": len(gzip.compress(path.read_bytes())) / 1000,
            "us": latency[at],
        }
        for at, path in files.items()
    }).T
""",
    """
columns = ["accuracy", "gzip_kb", "us"]
zeros = pd.DataFrame(
    [[0.860, 121.6, 15.60], [0.858, 76.2, 15.62], [0.827, 29.1, 15.61], [0.788, 18.7, 15.59]],
    [0.0, 0.5, 0.9, 0.97], columns,
)
channels = pd.DataFrame(
    [[0.860, 121.6, 15.72], [0.830, 71.9, 13.65], [0.800, 32.9, 7.85], [0.659, 9.0, 4.44]],
    [0.0, 0.25, 0.5, 0.75], columns,
)
TradeoffPanel(
    {"sparsity": zeros, "fraction": channels},
    {
        "sparsity": lambda value: kopt.remove_channels(model, value, leave=["conv"]),
        "fraction": lambda value: kopt.remove_channels(model, value, verbose=0),
    },
    Merit("accuracy", "accuracy"),
    measure,
)
""",
    """
modes = ["float32", "float16", "dynamic", "int8", "int8-io", "int16x8", "int8, QAT"]
result = pd.DataFrame(
    {
        "accuracy": [0.8734, 0.8734, 0.8716, 0.8725, 0.8725, 0.8725, 0.8707],
        "us": [7.84, 7.87, 5.88, 3.93, 3.87, 187.8, 4.34],
        "size_kb": [38.6, 23.8, 16.6, 16.4, 16.1, 17.9, 15.8],
        "mode": [name.partition(",")[0] for name in modes],
    },
    index=modes,
)
files = {name: f"models/{name}.tflite" for name in modes}
points = result.assign(accuracy_lost=0.8603 - result.accuracy)
ParetoPanel(
    points,
    files,
    Merit("accuracy", "accuracy"),
    Budget(latency_us=5, size_kb=20, accuracy_loss=0.01),
)
""",
]
