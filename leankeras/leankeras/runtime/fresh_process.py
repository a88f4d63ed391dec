"""Latencies under other thread settings of TensorFlow.

TensorFlow fixes its threads when it starts, so each measurement has a process of its own. The
model is passed as a file, with the names or files of the modules that define its custom layers.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from inspect import getfile, unwrap
from pathlib import Path

import keras
import pandas as pd

from leankeras.arrays import ONLY, Arrays, repeated, write_arrays
from leankeras.child import Child, ChildDied, JobError
from leankeras.errors import MeasurementError
from leankeras.graph import custom_code

FIGURES = ("us", "ratio", "ratio_low", "ratio_high")


def explore(
    model: keras.Model,
    sample: Arrays,
    batch: int,
    threads: int,
    report: Callable[[str], None] = lambda step: None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure where the time goes and what each way to call costs, in a fresh process.

    Args:
        model: as accepted by :func:`.profile_layers`; custom layers must be defined in a file.
        sample: one input with its batch axis, shape ``(1, ...)``; it is repeated to the batch.
        batch: samples per call.
        threads: TensorFlow threads, both inter-op and intra-op.
        report: called with a short text at the beginning of each of three steps.

    Returns:
        The table of :func:`leankeras.profile_layers`, and the table of the ladder from
        :func:`leankeras.compare_latency` against "tf.function"; times are per batch.

    Raises:
        MeasurementError: the process failed; the message says why.

    Example:
        >>> shares, rungs = explore(model, data.x_test[:1], batch=8, threads=2)
    """
    report(f"starting TensorFlow with {threads} thread{'s' * (threads > 1)}")
    with tempfile.TemporaryDirectory() as name, _child(threads, threads) as child:
        folder = Path(name)
        model.save(folder / "model.keras")
        many = repeated(sample, batch)
        named = many if isinstance(many, dict) else {ONLY: many}
        write_arrays(folder / "sample.npz", named)
        try:
            child.request(
                "profile",
                report,
                folder=name,
                modules=_custom_modules(model),
                search_path=[str(Path(entry).resolve()) for entry in sys.path],
            )
        except (JobError, ChildDied) as error:
            raise MeasurementError(
                f"measuring at batch {batch} with {threads} thread(s) failed: {error}"
            ) from error
        return tuple(
            pd.read_json(folder / file, orient="split") for file in ("shares.json", "ladder.json")
        )


def thread_settings(
    saved_model: str | Path, litert: str | Path, settings: Sequence[tuple[int, int]]
) -> pd.DataFrame:
    """Latency of a SavedModel under several thread settings of TensorFlow.

    The settings are fixed when a process starts, so each has a process of its own; there the model
    is measured beside its ``.tflite`` on one thread, which makes the processes comparable.

    Args:
        saved_model: the SavedModel directory.
        litert: the same model as ``.tflite``.
        settings: pairs of ``(inter-op, intra-op)`` threads.

    Returns:
        A row for each pair: ``inter_op``, ``intra_op``, ``us``, and ``ratio`` to LiteRT
        with its interval.
    """
    rows = []
    for inter_op, intra_op in settings:
        with _child(inter_op, intra_op) as child:
            measured = child.request("compare", litert=str(litert), saved_model=str(saved_model))
        rows.append(
            {"inter_op": inter_op, "intra_op": intra_op}
            | {name: measured[name] for name in FIGURES}
        )
    return pd.DataFrame(rows)


def _child(inter_op: int, intra_op: int) -> Child:
    threads = {"TF_NUM_INTEROP_THREADS": str(inter_op), "TF_NUM_INTRAOP_THREADS": str(intra_op)}
    return Child("leankeras.runtime.child_jobs", threads)


def _custom_modules(model: keras.Model) -> list[str]:
    """Names of the modules, or paths of the scripts, that define a model's own layers."""
    found = []
    for code in custom_code(model):
        importable = code.__module__ in sys.modules and code.__module__ != "__main__"
        if importable and find_spec(code.__module__) is not None:
            found.append(code.__module__)
        else:
            found.append(str(Path(getfile(unwrap(getattr(code, "call", code)))).resolve()))
    return sorted(set(found))
