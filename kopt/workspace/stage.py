"""A stage at work: it takes the previous stage's model and leaves a better one and a record."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from kopt.case import Case, Epochs
from kopt.cases.catalogue import case_files, find_case
from kopt.errors import WorkspaceError
from kopt.parameters import PARAMETERS, check_injected
from kopt.project import RUNS
from kopt.workspace.directory import Workspace
from kopt.workspace.duration import ILLUSTRATION_SAMPLES, expected_duration
from kopt.workspace.record import (
    LATENCY,
    RESTARTED_AFTER,
    STAGES,
    Record,
    predecessor,
    table_in_words,
)
from kopt.workspace.training_line import say, show_training
from leankeras.arrays import Arrays, first
from leankeras.budget import Budget
from leankeras.conversion import Float32Files, warm_converter
from leankeras.data import Data
from leankeras.digest import digest
from leankeras.files import copy, write_atomically, write_text
from leankeras.objective import find_objective
from leankeras.parameters import check_parameters
from leankeras.runtime import (
    LiteRTModel,
    choose,
    compare_files,
    compare_scores,
    largest_share,
    load_keras,
    machine,
    measure_briefly,
    predict,
)
from leankeras.searching import Candidate
from leankeras.task import AnyScore, infer_task
from leankeras.training_progress import watch_training

QUICK_PART, QUICK_EPOCHS = 0.25, 2


class Stage:
    """The object a notebook works with; created by :func:`open_stage`.

    Attributes:
        name: such as "03_prune".
        case: the :class:`kopt.Case`.
        data: the case's :class:`kopt.Data`, with its task; a quarter of it in a quick run.
        epochs: how long to train.
        chain: the :class:`leankeras.searching.Candidate` to follow; None if none is given.
        workspace: the run directory.
    """

    def __init__(
        self,
        name: str,
        case: Case,
        data: Data,
        workspace: Workspace,
        parameters: dict[str, Any],
        files: Iterable[Path] = (),
    ):
        self.name = name
        self.case = case
        self.data = data.part(QUICK_PART) if parameters["quick"] else data
        self.workspace = workspace
        self._parameters = parameters
        # taken before the work begins, so that later edits are noticed
        self._case_files = {str(path.resolve()): digest(path) for path in files}
        self.chain = Candidate.read(parameters["chain"]) if parameters.get("chain") else None
        short = name.partition("_")[2]
        asked = getattr(self.chain, f"{short}_epochs", 0)
        self.epochs = asked or getattr(self.all_epochs, short, 0)
        self._float32 = Float32Files()  # panels may compare long after the stage has finished
        self._judged: dict[str, dict[str, Any]] = {}
        self._started = time.monotonic()

    @property
    def before(self) -> str | None:
        """The stage this one continues from; None for the first."""
        return predecessor(self.name)

    @property
    def sample(self) -> Arrays:
        """One test sample with its batch axis; latencies are measured on it."""
        return first(self.data.x_test)

    @property
    def score(self) -> AnyScore:
        """What the model's outputs are judged by."""
        return self.data.task.score

    def case_epochs(self, stage: str) -> int:
        """Epochs the case trains for in a stage ("profile", "prune", ...); fewer in a quick run."""
        wished = getattr(self.case.epochs, stage)
        return min(wished, QUICK_EPOCHS) if self._parameters["quick"] else wished

    @property
    def all_epochs(self) -> Epochs:
        """Epochs of all stages, as the case or the parameter ``epochs`` sets them."""
        asked = self._parameters.get("epochs")
        own = {field.name: self.case_epochs(field.name) for field in fields(Epochs)}
        return Epochs(**{name: epochs and (asked or epochs) for name, epochs in own.items()})

    @property
    def illustration(self) -> Data:
        """Data for what only illustrates: curves, repeated trials, examples. Not all, if large."""
        return self.data.at_most(ILLUSTRATION_SAMPLES)

    def slow_layers(self, model: keras.Model) -> Iterator[keras.Layer]:
        """The layers of a model that belong to the case's slow class, if it names one."""
        slow = self.case.slow_layer
        return (layer for layer in model.layers if slow and isinstance(layer, slow))

    def load(self, stage: str | None = None) -> keras.Model:
        """The Keras model of an earlier stage; by default the previous one."""
        return load_keras(self.workspace.models / f"{stage or self.before}.keras")

    def exported(self, stage: str) -> Path:
        """The quantization-aware model of an earlier stage, for :func:`kopt.convert`."""
        return self.workspace.models / stage

    def file(self, stage: str) -> Path:
        """The ``.tflite`` of an earlier stage."""
        return self.workspace.models / f"{stage}.tflite"

    def record(self, stage: str) -> Record:
        """The record of an earlier stage."""
        return self.workspace.record(stage)

    def scratch(self, name: str) -> Path:
        """A path in the run directory for a file that is measured in this stage only."""
        folder = self.workspace.path / "scratch"
        folder.mkdir(exist_ok=True)
        return folder / f"{self.name}-{name}"

    def files(self, targets: Mapping[Any, Any]) -> dict[Any, Path]:
        """Every target as a ``.tflite``; a Keras model is converted to float32, once.

        Args:
            targets: Keras models or ``.tflite`` paths, by name.
        """
        return {name: self._float32.of(target) for name, target in targets.items()}

    def compare(
        self, targets: Mapping[Any, Any], reference: Any = None, data: Data | None = None
    ) -> pd.DataFrame:
        """Score on the validation part, size and latency of several models or files.

        Args:
            targets: Keras models, which are converted to float32, or ``.tflite`` paths, by name.
            reference: a name in ``targets``; by default the first.
            data: to score on; by default the stage's own.

        Returns:
            The table of :func:`leankeras.runtime.compare_files`, without some columns.
        """
        table, _ = compare_files(self.files(targets), data or self.data, reference=reference)
        return table.drop(columns=["us_low", "us_high", "p95_us"])

    def choose(self, table: pd.DataFrame, given: Any, later: bool = False) -> tuple[Any, str]:
        """The best row of :meth:`compare`, and why; see :func:`leankeras.runtime.choose`.

        A row called "chain" is what the parameter of that name asks for.
        """
        if "chain" in table.index:
            return "chain", f"chain (as {self._parameters['chain']} asks)"
        return choose(table, self.case.budget, self.score, given, later)

    def largest_share(self, curve: pd.DataFrame) -> float:
        """The largest setting within the budget; see :func:`leankeras.runtime.largest_share`."""
        return largest_share(curve, self.case.budget, self.score)

    def answer(self, file: Path, plain: Mapping[str, Path]) -> str:
        """What to do, in a sentence, if the best file is one of a model as it was.

        Args:
            file: the best file.
            plain: files of the rewritten model, by mode, such as "int8".
        """
        rewritten = "the rewritten model" if self.case.rewrites else "the model"
        files = {f"{rewritten} as it is and deploy its plain {mode}": plain[mode] for mode in plain}
        files["the model as it is and deploy its plain float32"] = self.file(STAGES[0])
        same = [text for text, path in files.items() if digest(path) == digest(file)]
        return f"Leave {same[0]} file." if same else ""

    def against_slow(self, file: Path) -> pd.Series:
        """Latency of a file and its ratio to the slow model's, as the record will store them."""
        return pd.Series(self._judge(file)["latency"])

    def finish(
        self,
        model: Any = None,
        tables: Mapping[str, pd.DataFrame] | None = None,
        deployed: Path | None = None,
        answer: str = "",
        source: str = "",
    ) -> "Outcome":
        """Measure and keep what the stage made, and let the next stage begin.

        Args:
            model: a Keras 3 model, or a quantization-aware one (anything with ``export``), for
                the next stage to load; the last stage has none.
            tables: other measurements to keep in the record.
            deployed: the ``.tflite`` to judge; by default the model converted to float32.
            answer: what to do with it, in a sentence.
            source: Python that the stage has written, kept beside the models.

        Raises:
            ConversionError: the model cannot be deployed.
            WorkspaceError: the run directory cannot be written; it is then left as it was.
        """
        file = self.file(self.name)
        if deployed is None:
            deployed = self._float32.of(model)
        measured = self._judge(deployed)
        write_atomically(file, partial(copy, deployed), WorkspaceError)
        kept = [file, *self._keep(model), *self._keep_source(source)]
        record = Record(
            stage=self.name,
            case=self.case.name,
            parameters=self._parameters,
            epochs=self.epochs,
            inputs={self.before: self.workspace.record(self.before).outputs} if self.before else {},
            outputs={path.name: digest(path) for path in kept},
            case_files=self._case_files,
            environment=_environment(),
            seconds=time.monotonic() - self._started,
            tables={
                name: table.reset_index(drop=table.index.names == [None]).to_dict("records")
                for name, table in (tables or {}).items()
            },
            answer=answer,
            **measured,
        )
        write_text(self.workspace.record_path(self.name), record.to_json(), WorkspaceError)
        self.workspace.release()
        return Outcome(self.workspace.records())

    def _keep(self, model: Any) -> list[Path]:
        if model is None:
            return []
        if isinstance(model, keras.Model):
            path, write = self.workspace.models / f"{self.name}.keras", model.save
        else:
            path, write = self.workspace.models / self.name, model.export
        write_atomically(path, write, WorkspaceError)
        return [path]

    def _keep_source(self, text: str) -> list[Path]:
        path = self.workspace.models / f"{self.name}.py"
        if not text:
            path.unlink(missing_ok=True)
            return []
        write_text(path, text, WorkspaceError)
        return [path]

    def _judge(self, deployed: Path) -> dict[str, Any]:
        """The part of the record that says how good a file is; measured once per file."""
        content = digest(deployed)
        if content not in self._judged:
            slow = self.file(STAGES[0]) if self.before else deployed
            files = {"slow": slow, "this": deployed}
            table, conditions = compare_files(files, self.data, "test")
            this = table.loc["this"].to_dict()
            validation = compare_scores(files, self.data).loc["this"].to_dict()
            self._judged[content] = {
                "test": {name: this[name] for name in self.score.columns},
                "validation": validation,
                "size_bytes": deployed.stat().st_size,
                "gzip_bytes": round(1000 * this["gzip_kb"]),
                "latency": {name: this[name] for name in LATENCY},
                "conditions": conditions,
                "remark": self._remark(deployed),
            }
        task = {"task": str(self.data.task), "merit": self.score.merit}
        return self._judged[content] | task | {"budget": self.case.budget}

    def _remark(self, deployed: Path) -> str:
        if self.case.remark is None:
            return ""
        outputs = predict(deployed, self.data.samples("test"))
        return self.case.remark(outputs, self.data.labels("test"))


class Outcome:
    """The records so far, displayed as the table of the chain."""

    def __init__(self, records: list[Record]):
        self.records = records

    def __str__(self) -> str:
        return "\n".join([table_in_words(self.records).to_string(), *self._remarks])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        remarks = "".join(f"<p>{remark}</p>" for remark in self._remarks)
        return table_in_words(self.records).to_html() + remarks

    @property
    def _remarks(self) -> list[str]:
        last = self.records[-1]
        return [text for text in (last.remark, last.answer) if text]


def open_stage(
    name: str, case: str, run_dir: str | None, seed: int, quick: bool, **knobs: Any
) -> Stage:
    """Begin a stage: check its parameters and place in the run, and claim the run directory.

    Args:
        name: the stage, such as "03_prune".
        case: a case's name, ``FILE.py:NAME``, or ``MODEL.keras:DATA``.
        run_dir: the run directory; None for ``runs/<case>`` in the project.
        seed: the seed of every random choice the stage makes.
        quick: use a quarter of the samples and two epochs, and measure briefly, to check that
            everything works.
        knobs: the stage's own parameters.

    Raises:
        ParameterError: a parameter is unknown, of the wrong type or out of range.
        WorkspaceError: the run directory belongs to another case, is in use or not writable.
        StageError: the previous stage has not finished, is stale or ran with another ``quick``.

    Example:
        >>> stage = open_stage("01_profile", "signal", None, seed=0, quick=True, epochs=None)
        >>> stage.data.x_train.shape
        (615, 128, 6)
    """
    parameters = {"case": case, "seed": seed, "quick": quick, **knobs}
    check_injected({"run_dir", *parameters})
    check_parameters({"run_dir": run_dir, **parameters}, PARAMETERS)
    warm_converter()
    found = find_case(case)
    if parameters.get("budget"):
        found = replace(found, budget=Budget.parse(parameters["budget"]))
    workspace = Workspace(Path(run_dir or RUNS / found.name).resolve())
    workspace.check_before(name, quick)
    slow = None if predecessor(name) else found.build()
    stage = _stage(name, case, found, workspace, parameters, slow)
    if slow:
        say(f"The whole run: {expected_duration(slow, stage.data, stage.all_epochs)}")
    workspace.claim(found.name, name)
    watch_training(show_training)
    keras.utils.set_random_seed(seed)
    if quick:
        measure_briefly()
    return stage


def view_stage(name: str, case: str, run_dir: Path, parameters: dict[str, Any]) -> Stage:
    """A stage to read models and data from, which claims nothing and is not to be finished.

    Args:
        name: the stage, such as "03_prune"; the one before has finished.
        case: as in :func:`open_stage`.
        run_dir: the run directory.
        parameters: the stage's parameters, ``seed`` and ``quick`` among them.
    """
    return _stage(name, case, find_case(case), Workspace(run_dir), parameters, None)


def _stage(
    name: str,
    case: str,
    found: Case,
    workspace: Workspace,
    parameters: dict[str, Any],
    slow: keras.Model | None,
) -> Stage:
    data = _with_task(found, found.load(), workspace, slow, parameters.get("task"))
    chain = [Path(parameters["chain"])] if parameters.get("chain") else []
    return Stage(name, found, data, workspace, parameters, [*case_files(case), *chain])


def _with_task(
    case: Case, data: Data, workspace: Workspace, slow: keras.Model | None, name: str | None
) -> Data:
    """The data with its task, as the labels and the outputs of the slow model show it.

    Raises:
        DataError: no task fits, or not the one that is named.
        ParameterError: the budget limits a score of another kind.
    """
    if name is not None:
        data = replace(data, task=name)
    if data.task is None or isinstance(data.task, str):
        if slow:
            task = find_objective(slow, data).task
        else:  # the slow model's file says it without TensorFlow
            outputs = LiteRTModel(workspace.models / f"{STAGES[0]}.tflite").output_details
            shapes = {output: tuple(each["shape"][1:]) for output, each in outputs.items()}
            task = infer_task(shapes, data.evidence, data.task)
        data = replace(data, task=task)
    case.budget.may_lose(data.task.score)
    return data


def _environment() -> dict[str, Any]:
    crash = os.environ.get(RESTARTED_AFTER)
    known = machine() | {"kopt-workbook": version("kopt-workbook")}
    return known | ({"restarted_after": crash} if crash else {})
