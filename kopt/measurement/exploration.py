"""Layer shares and the ladder at another batch size and number of threads.

TensorFlow's threads are settled when it starts, so each measurement has a process of its own. The
model goes there as a file, with the names or files of the modules that define its custom layers.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from inspect import getfile, unwrap
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from kopt.deployment.archive import load_keras
from kopt.errors import MeasurementError
from kopt.measurement.ladder import ladder
from kopt.measurement.latency import compare_latency
from kopt.measurement.layers import profile_layers
from kopt.project import ROOT
from kopt.scripts import run_script

STEP = "step: "


def explore(
    model: keras.Model,
    sample: np.ndarray,
    batch: int,
    threads: int,
    report: Callable[[str], None] = lambda step: None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure where the time goes and what each way to call costs, in a fresh process.

    Args:
        model: as :func:`kopt.profile_layers` takes it; custom layers must be defined in a file.
        sample: one input with its batch axis, shape ``(1, ...)``; it is repeated to the batch.
        batch: samples a call.
        threads: of TensorFlow, inter-op and intra-op.
        report: called with a few words at the beginning of each of three steps.

    Returns:
        What :func:`kopt.profile_layers` gives, and the table of the ladder as
        :func:`kopt.compare_latency` gives it against "tf.function"; times are of a whole batch.

    Raises:
        MeasurementError: the process failed; says why.

    Example:
        >>> shares, rungs = explore(model, data.x_test[:1], batch=8, threads=2)
    """
    report(f"starting TensorFlow with {threads} thread{'s' * (threads > 1)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "model.keras")
        np.save(folder / "sample.npy", np.repeat(sample, batch, axis=0))
        (folder / "modules.json").write_text(json.dumps(_custom_modules(model)))
        settings = {"TF_NUM_INTEROP_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}
        errors = folder / "errors.txt"
        with (
            errors.open("w") as log,
            subprocess.Popen(
                [sys.executable, "-m", "kopt.measurement.exploration", name],
                env=os.environ | {key: str(value) for key, value in settings.items()},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            for line in process.stdout:
                if line.startswith(STEP):
                    report(line.removeprefix(STEP).strip())
        if process.returncode:
            said = errors.read_text().strip().splitlines()
            raise MeasurementError(
                f"measuring at batch {batch} with {threads} thread(s) failed: "
                f"{said[-1] if said else f'exit code {process.returncode}'}"
            )
        return _read(folder / "shares.json"), _read(folder / "ladder.json")


def _custom_modules(model: keras.Model) -> list[str]:
    """Names of the modules, or paths of the scripts, that define a model's own layers."""
    found = []
    for layer in model._flatten_layers():
        kind = type(layer)
        if kind.__module__.partition(".")[0] == "keras":
            continue
        importable = kind.__module__ in sys.modules and kind.__module__ != "__main__"
        if importable and find_spec(kind.__module__) is not None:
            found.append(kind.__module__)
        else:
            found.append(str(Path(getfile(unwrap(kind.call))).resolve()))
    return sorted(set(found))


def _measure(folder: Path) -> None:
    """What the child does."""
    for module in json.loads((folder / "modules.json").read_text()):
        if module.endswith(".py"):
            run_script(module)
        else:
            import_module(module)
    model, sample = load_keras(folder / "model.keras"), np.load(folder / "sample.npy")
    _say("timing the layers")
    profile_layers(model, sample).to_json(folder / "shares.json", orient="split")
    _say("timing the ways to call")
    rungs = compare_latency(ladder(model, sample), sample, reference="tf.function")
    rungs.table.to_json(folder / "ladder.json", orient="split")


def _read(path: Path) -> pd.DataFrame:
    return pd.read_json(path, orient="split")


def _say(step: str) -> None:
    print(f"{STEP}{step}", flush=True)


if __name__ == "__main__":
    _measure(Path(sys.argv[1]))
