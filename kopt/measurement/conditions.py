"""What else decides a latency: TensorFlow's threads, the batch, and copying in and out."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from kopt.deployment.litert import LiteRTModel
from kopt.measurement.latency import compare_latency
from kopt.project import ROOT


def thread_settings(
    saved_model: str | Path, litert: str | Path, settings: Sequence[tuple[int, int]]
) -> pd.DataFrame:
    """Latency of a SavedModel under several settings of TensorFlow's threads.

    The settings hold for a process from its start, so each has a process of its own; there the
    model is measured beside its ``.tflite`` on one thread, which ties the processes together.

    Args:
        saved_model: the SavedModel directory.
        litert: the same model as ``.tflite``.
        settings: pairs of ``(inter-op, intra-op)`` threads.

    Returns:
        A row for each pair: ``inter_op``, ``intra_op``, ``median_us``, and ``ratio`` to LiteRT
        with its interval.
    """
    rows = []
    for inter_op, intra_op in settings:
        threads = {"TF_NUM_INTEROP_THREADS": inter_op, "TF_NUM_INTRAOP_THREADS": intra_op}
        run = subprocess.run(
            [sys.executable, "-m", "kopt", "bench", str(litert), str(saved_model), "--json"],
            env=os.environ | {name: str(value) for name, value in threads.items()},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        measured = json.loads(run.stdout)["targets"][str(saved_model)]
        kept = ("median_us", "ratio", "ratio_low", "ratio_high")
        rows.append(
            {"inter_op": inter_op, "intra_op": intra_op} | {name: measured[name] for name in kept}
        )
    return pd.DataFrame(rows)


def batch_sizes(model: keras.Model, sample: np.ndarray, batches: Sequence[int]) -> pd.DataFrame:
    """Microseconds a sample when several go through a ``tf.function`` and ``predict`` at once.

    Returns:
        Indexed by ``batch``: ``tf_function`` and ``predict``, medians in microseconds a sample.
    """
    function = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    targets: dict[str, Any] = {}
    for batch in batches:
        inputs = np.repeat(sample, batch, axis=0)
        tensor = tf.constant(inputs)
        targets[f"tf_function {batch}"] = lambda _, tensor=tensor: function(tensor)
        targets[f"predict {batch}"] = lambda _, inputs=inputs: model.predict(inputs, verbose=0)
    medians = compare_latency(targets, sample).table.median_us
    return pd.DataFrame(
        {
            way: [medians[f"{way} {batch}"] / batch for batch in batches]
            for way in ("tf_function", "predict")
        },
        index=pd.Index(batches, name="batch"),
    )


def copying(litert: str | Path, sample: np.ndarray) -> pd.DataFrame:
    """What copying in and out of LiteRT costs, and whether writing in place saves it.

    Returns:
        As :func:`kopt.compare_latency`: "copy in, run, copy out"; "written in place" (into the
        interpreter's own memory, and read there); "run only".
    """
    copied, in_place, alone = (LiteRTModel(litert) for _ in range(3))
    (source,) = in_place.input_details.values()
    (target,) = in_place.output_details.values()
    write = in_place.interpreter.tensor(source["index"])
    read = in_place.interpreter.tensor(target["index"])

    def run_in_place(x: np.ndarray) -> float:
        write()[...] = x  # a view kept over the run would make LiteRT refuse to run
        in_place.invoke()
        return read()[0, 0]

    alone.set_inputs({name: sample for name in alone.input_details})
    bound = copied.bind(sample)
    return compare_latency(
        {
            "copy in, run, copy out": lambda _: bound(),
            "written in place": run_in_place,
            "run only": lambda _: alone.invoke(),
        },
        sample,
    ).table
