"""The effect of LiteRT's settings on a .tflite: kernels, threads, and who converts floats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leankeras.runtime.intervals import verdict
from leankeras.runtime.latency import (
    BUSY_CPU_SHARE,
    COPIES,
    paired_rounds,
)
from leankeras.runtime.litert import LiteRTModel

FREE_CORE = 0.8  # with less of a core free, a second thread often has to wait


@dataclass(frozen=True)
class Setting:
    """One way to run a file; ``input`` says what the caller passes."""

    kernels: str = "XNNPACK"
    threads: int = 1
    input: str = "the file's type"


DEFAULT = Setting()
IN_NUMPY = Setting(input="floats, converted by NumPy")
SETTINGS = (DEFAULT, Setting(kernels="built-in"), Setting(threads=2))


def runtime_settings(files: Mapping[str, str | Path], sample: np.ndarray) -> pd.DataFrame:
    """Latency of files under LiteRT's settings, each against the same file under the default ones.

    The default is XNNPACK on one thread, with a sample of the file's own type copied in and the
    result copied out. The other rows change one thing: LiteRT's built-in kernels in place of the
    XNNPACK delegate; two threads; and, for a file that takes integers, floats that NumPy converts
    to the file's type and back in every call. All rows are timed in the same rounds, as in
    :func:`leankeras.compare_latency`.

    Two threads need two cores. Their use by other processes is measured as well, and if no second
    core was idle, there is no figure.

    Args:
        files: name to ``.tflite`` path.
        sample: floats with a batch axis of 1.

    Returns:
        A row for each file and setting: ``file``, ``kernels``, ``threads``, ``input``,
        ``us``, ``ratio`` with its 95 % interval ``ratio_low`` and ``ratio_high``, and
        ``verdict``: "reference", "faster", "slower", "cannot tell" or "cannot tell: core busy".

    Raises:
        ModelError: a file is not a .tflite, or LiteRT cannot run it.
        DataError: the sample does not fit a file.

    Example:
        >>> runtime_settings({"float32": "a.tflite", "int8": "b.tflite"}, x_test[:1])
    """
    calls = {}
    for name, path in files.items():
        for setting in _settings(path):
            calls[name, setting] = [_call(path, sample, setting) for _ in range(COPIES)]
    rounds = paired_rounds(calls)
    rows = []
    for name, setting in calls:
        ratio, low, high = rounds.ratio((name, setting), (name, DEFAULT))
        waited = setting.threads > 1 and rounds.free_cores < setting.threads - 1 + FREE_CORE
        if setting == DEFAULT:
            said = "reference"
        elif waited or rounds.cpu_share < BUSY_CPU_SHARE:
            said = "cannot tell: core busy"
        else:
            said = verdict(low, high)
        figures = {
            "us": 1e6 * float(np.median(rounds.best[name, setting])),
            "ratio": ratio,
            "ratio_low": low,
            "ratio_high": high,
        }
        if waited:
            figures = dict.fromkeys(figures, float("nan"))
        rows.append({"file": name, **vars(setting), **figures, "verdict": said})
    return pd.DataFrame(rows)


def _settings(path: str | Path) -> tuple[Setting, ...]:
    details = LiteRTModel(path).input_details.values()
    takes_integers = any(entry["quantization"][0] for entry in details)
    return (*SETTINGS, IN_NUMPY) if takes_integers else SETTINGS


def _call(path: str | Path, sample: np.ndarray, setting: Setting) -> Callable[[], Any]:
    model = LiteRTModel(path, setting.threads, xnnpack=setting.kernels == "XNNPACK")
    if setting != IN_NUMPY:
        return model.bind(sample)
    (floats,) = model.samples(sample)

    def convert_and_run() -> dict[str, np.ndarray]:
        model.set_inputs(floats)
        model.invoke()
        return model.outputs()

    return convert_and_run
