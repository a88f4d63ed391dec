"""One stage at work: takes the model the stage before left, leaves a better one and a record."""

import gzip
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import psutil

from kopt.case import Case, find_case
from kopt.data import Data
from kopt.deployment import worker
from kopt.deployment.archive import load_keras
from kopt.deployment.tflite import convert
from kopt.measurement.accuracy import compare_accuracy
from kopt.measurement.latency import compare_latency, verdict
from kopt.measurement.runtime import is_tflite
from kopt.parameters import check_parameters
from kopt.project import RUNS
from kopt.workspace.directory import Workspace, digest, write_atomically
from kopt.workspace.record import STAGES, Record, predecessor, summary

QUICK_PART, QUICK_EPOCHS = 0.25, 2


class Stage:
    """What a notebook works with; made by :func:`open_stage`.

    Attributes:
        name: such as "03_prune".
        case: the :class:`kopt.Case`.
        data: the case's :class:`kopt.Data`; a quarter of it in a quick run.
        epochs: how long to train.
        workspace: the run directory.
    """

    def __init__(
        self, name: str, case: Case, data: Data, workspace: Workspace, parameters: dict[str, Any]
    ):
        self.name = name
        self.case = case
        self.data = data.part(QUICK_PART) if parameters["quick"] else data
        self.workspace = workspace
        self._parameters = parameters
        self.epochs = self._epochs() if "epochs" in parameters else 0
        self._started = time.monotonic()

    @property
    def before(self) -> str | None:
        """The stage this one continues from; None for the first."""
        return predecessor(self.name)

    @property
    def sample(self):
        """One test sample with its batch axis: what latencies are measured on."""
        return self.data.x_test[:1]

    def case_epochs(self, stage: str) -> int:
        """How long the case trains in a stage ("profile", "prune", ...), less in a quick run."""
        wished = getattr(self.case.epochs, stage)
        return min(wished, QUICK_EPOCHS) if self._parameters["quick"] else wished

    def load(self, stage: str | None = None) -> keras.Model:
        """The Keras model an earlier stage left; by default the one before."""
        return load_keras(self.workspace.models / f"{stage or self.before}.keras")

    def file(self, stage: str) -> Path:
        """The ``.tflite`` an earlier stage left."""
        return self.workspace.models / f"{stage}.tflite"

    def scratch(self, name: str) -> Path:
        """A path in the run directory for a file that is measured in this stage only."""
        folder = self.workspace.path / "scratch"
        folder.mkdir(exist_ok=True)
        return folder / f"{self.name}-{name}"

    def compare(self, targets: Mapping[Any, Any]) -> pd.DataFrame:
        """Accuracy, size and latency of several models or files, against the first.

        Args:
            targets: name to Keras model, which is converted to float32, or to ``.tflite`` path.

        Returns:
            Indexed by name: ``accuracy`` and ``accuracy_lost`` with its interval (fractions),
            ``size_kb`` and ``gzip_kb`` (1000 bytes), ``median_us``, and ``ratio`` with its interval
            and verdict, as :func:`kopt.compare_latency` gives them.
        """
        files = {
            name: target
            if is_tflite(target)
            else convert(target, self.scratch(f"{name}.tflite"), mode="float32").path
            for name, target in targets.items()
        }
        contents = [path.read_bytes() for path in files.values()]
        table = compare_accuracy(files, self.data.x_test, self.data.y_test)
        table["size_kb"] = [len(content) / 1000 for content in contents]
        table["gzip_kb"] = [len(gzip.compress(content)) / 1000 for content in contents]
        latency = compare_latency(files, self.sample).table
        return table.join(latency.drop(columns=["median_low", "median_high", "p95_us"]))

    def finish(
        self,
        model: Any = None,
        tables: Mapping[str, pd.DataFrame] | None = None,
        deployed: Path | None = None,
    ) -> "Outcome":
        """Measure what the stage made, keep it, and let the next stage begin.

        Args:
            model: a Keras 3 model, or a quantization-aware one (anything with ``export``), for
                the next stage to load; the last stage leaves none.
            tables: what else was measured, to be kept in the record.
            deployed: the ``.tflite`` to judge; by default the model converted to float32.

        Raises:
            ConversionError: the model cannot be deployed.
            WorkspaceError: the run directory cannot be written; it is then as it was before.
        """
        file = self.file(self.name)
        if deployed is None:
            deployed = convert(model, self.scratch("float32.tflite"), mode="float32").path
        measured = self._measure(deployed)
        write_atomically(file, lambda path: path.write_bytes(deployed.read_bytes()))
        kept = [file, *self._keep(model)]
        record = Record(
            stage=self.name,
            case=self.case.name,
            parameters=self._parameters,
            epochs=self.epochs,
            inputs={self.before: self.workspace.record(self.before).outputs} if self.before else {},
            outputs={path.name: digest(path) for path in kept},
            environment=_environment(),
            seconds=time.monotonic() - self._started,
            tables={
                name: table.reset_index(drop=table.index.name is None).to_dict("records")
                for name, table in (tables or {}).items()
            },
            **measured,
        )
        write_atomically(
            self.workspace.record_path(self.name), lambda path: path.write_text(record.to_json())
        )
        self.workspace.release()
        return Outcome(self.workspace.records())

    def _epochs(self) -> int:
        asked = self._parameters["epochs"]
        return self.case_epochs(self.name.partition("_")[2]) if asked is None else asked

    def _keep(self, model: Any) -> list[Path]:
        if model is None:
            return []
        if isinstance(model, keras.Model):
            path, write = self.workspace.models / f"{self.name}.keras", model.save
        else:
            path, write = self.workspace.models / self.name, model.export
        write_atomically(path, write)
        return [path]

    def _measure(self, deployed: Path) -> dict[str, Any]:
        """The part of the record that says how good the deployed file is."""
        slow = self.file(STAGES[0]) if self.before else deployed
        accuracy = compare_accuracy(
            {"slow": slow, "this": deployed}, self.data.x_test, self.data.y_test
        ).loc["this"]
        comparison = compare_latency({"slow": slow, "this": deployed}, self.sample)
        latency = comparison.table.loc["this"]
        size, budget = deployed.stat().st_size, self.case.budget
        within = {"faster": "met", "slower": "missed", "cannot tell": "cannot tell"}
        return {
            "accuracy": accuracy.accuracy,
            "accuracy_loss": accuracy.accuracy_lost,
            "size_bytes": size,
            "gzip_bytes": len(gzip.compress(deployed.read_bytes())),
            "latency": latency.drop("verdict").to_dict(),
            "conditions": comparison.conditions,
            "budget": {
                "latency": within[
                    verdict(latency.median_low, latency.median_high, budget.latency_us)
                ],
                "size": "met" if size <= 1000 * budget.size_kb else "missed",
                "accuracy": "met" if accuracy.accuracy_lost <= budget.accuracy_loss else "missed",
            },
        }


class Outcome:
    """The records up to now, showing themselves as the chain's table."""

    def __init__(self, records: list[Record]):
        self.records = records

    def __str__(self) -> str:
        return summary(self.records).round(2).to_string()

    def _repr_html_(self) -> str:
        return summary(self.records).to_html(float_format="{:.4g}".format)


def open_stage(
    name: str, case: str, run_dir: str | None, seed: int, quick: bool, **knobs: Any
) -> Stage:
    """Begin a stage: check its parameters, its place in the run, and claim the run directory.

    Args:
        name: the stage, such as "03_prune".
        case: a case's name, or ``FILE.py:NAME``.
        run_dir: the run directory; None for ``runs/<case>`` of the project.
        seed: of every random choice the stage makes.
        quick: a quarter of the samples and two epochs: shows that everything works, not how well.
        knobs: the stage's own parameters.

    Raises:
        ParameterError: a parameter of an unknown name, a wrong type or out of range.
        WorkspaceError: the run directory is another case's, is being written, or cannot be.
        StageError: the stage before has not finished, is stale, or was run with another ``quick``.

    Example:
        >>> stage = open_stage("01_profile", "signal", None, seed=0, quick=True, epochs=None)
        >>> stage.data.x_train.shape
        (615, 128, 6)
    """
    parameters = {"case": case, "seed": seed, "quick": quick, **knobs}
    check_parameters({"run_dir": run_dir, **parameters})
    worker.warm()
    found = find_case(case)
    workspace = Workspace(run_dir or RUNS / found.name)
    stage = Stage(name, found, found.load(), workspace, parameters)
    workspace.check_before(name, quick)
    workspace.claim(found.name, name)
    keras.utils.set_random_seed(seed)
    return stage


def _environment() -> dict[str, Any]:
    packages = ("kopt", "tensorflow", "keras", "tensorflow-model-optimization", "ai-edge-litert")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        **{package: version(package) for package in packages},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
