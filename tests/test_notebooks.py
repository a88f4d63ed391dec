"""The notebooks as files, and in real runs: real kernels, real data, quick mode."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import keras
import nbformat
import numpy as np
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from kopt.cli import main
from kopt.execution.chain import notebook_parameters
from kopt.parameters import PARAMETERS
from kopt.project import NOTEBOOKS, ROOT
from kopt.workspace.directory import Workspace
from kopt.workspace.record import STAGES
from leankeras.data import Data
from leankeras.parameters import check_parameters
from leankeras.runtime import TFLiteFile, load_keras
from leankeras.training import fit
from tests.saving import save_data

LONGEST_CELL = 14


@pytest.fixture(scope="module", params=STAGES)
def notebook(request):
    return request.param, nbformat.read(NOTEBOOKS / f"{request.param}.ipynb", 4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_stripped(notebook):
    _, notebook = notebook
    assert not any(cell.outputs or cell.execution_count for cell in code(notebook))


def test_the_parameters_are_tagged_typed_commented_and_good(notebook):
    stage, _ = notebook
    found = papermill.inspect_notebook(NOTEBOOKS / f"{stage}.ipynb")
    assert set(found) >= {"case", "run_dir", "seed", "quick"}
    assert all(entry["inferred_type_name"] and entry["help"] for entry in found.values())
    check_parameters(notebook_parameters(stage), PARAMETERS)


def test_a_notebook_reads_as_an_argument(notebook):
    stage, notebook = notebook
    first = notebook.cells[0].source
    assert first.startswith(f"# {stage[:2]} · ")
    assert "You will learn" in first
    assert "| takes |" in first
    assert "| needs |" in first
    assert "| leaves |" in first
    lengths = [len(cell.source.splitlines()) for cell in code(notebook)]
    assert max(lengths) <= LONGEST_CELL
    assert f"[{stage}]({stage}.ipynb)" in (NOTEBOOKS / "README.md").read_text()


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A quick run of the default case from the command line, as the README has it.

    The other cases take too long here; benchmarks/seeds.py runs them.
    """
    folder = tmp_path_factory.mktemp("signal") / "run"
    run = subprocess.run(
        [sys.executable, "-m", "kopt", "run", "--quick", "--run-dir", folder],
        capture_output=True,
        text=True,
    )
    return run, Workspace(folder)


@pytest.mark.notebook
def test_a_quick_run_goes_from_the_slow_model_to_the_report(finished_run):
    run, workspace = finished_run
    assert run.returncode == 0, run.stderr[-3000:]
    assert [record.stage for record in workspace.records()] == list(STAGES)
    assert [workspace.stale_because(stage) for stage in STAGES] == [None] * len(STAGES)
    assert run.stdout.rstrip().endswith(f"report: {workspace.path / 'report.html'}")
    assert "After 08_serve:" in run.stdout
    for stage in STAGES:
        assert f"{stage}" in run.stderr  # its progress bar
        executed = nbformat.read(workspace.notebooks / f"{stage}.ipynb", 4)
        assert not any(
            output.get("name") == "stderr" and "Warning" in output.text
            for cell in code(executed)
            for output in cell.outputs
        ), stage


@pytest.mark.notebook
def test_the_records_of_a_run_tell_one_story(finished_run):
    _, workspace = finished_run
    records = {record.stage: record for record in workspace.records()}
    slow, fast, final = (records[stage] for stage in ("01_profile", "02_rewrite", "06_tflite"))
    assert slow.test["accuracy_lost"] == 0
    assert fast.test["accuracy"] == pytest.approx(slow.test["accuracy"], abs=0.01)
    for record in records.values():
        latency = record.latency
        assert 0 < latency["ratio_low"] <= latency["ratio"] <= latency["ratio_high"]
    assert final.size_bytes < slow.size_bytes
    assert records["07_deploy"].size_bytes == final.size_bytes
    assert records["07_deploy"].test == final.test
    assert set(records["07_deploy"].table("settings").file) == {"slow", "final"}
    assert records["08_serve"].size_bytes == final.size_bytes
    assert (records["08_serve"].table("servings").wrong == 0).all()
    assert records["05_qat"].table("files").loc[0, "target"] == "float32"
    methods = records["03_prune"].table("methods").set_index("target")
    assert methods.gzip_kb["zeros"] < methods.gzip_kb["rewritten"]


@pytest.mark.notebook
def test_every_solution_passes_its_check_and_every_unfilled_exercise_does_not(finished_run):
    _, workspace = finished_run
    for stage in STAGES:
        executed = nbformat.read(workspace.notebooks / f"{stage}.ipynb", 4)
        for tag, state in {"exercise": "not answered yet: ", "solution": "right: "}.items():
            cells = [cell for cell in code(executed) if tag in cell.metadata.tags]
            said = [cell.outputs[-1]["data"]["text/plain"] for cell in cells]
            assert len(said) in (2, 3, 4), stage
            assert all(text.startswith(state) for text in said), (stage, said)


@pytest.mark.notebook
def test_resuming_a_finished_run_does_nothing(finished_run, capsys):
    _, workspace = finished_run
    case = workspace.record("01_profile").case
    before = {stage: workspace.record(stage) for stage in STAGES}
    with pytest.raises(SystemExit) as ended:
        main(["run", case, "--quick", "--resume", "--run-dir", str(workspace.path)])
    assert not ended.value.code
    assert capsys.readouterr().out.count("already done, skipped") == len(STAGES)
    assert {stage: workspace.record(stage) for stage in STAGES} == before


BARE = """
from dataclasses import replace

from kopt.cases.signal import CASE

bare = replace(CASE, name="bare", rewrites=())
"""


@pytest.mark.notebook
def test_signal_without_its_rewrites_ends_at_the_same_operators(finished_run, tmp_path):
    _, by_hand = finished_run
    (tmp_path / "bare.py").write_text(BARE)
    found = Workspace(tmp_path / "run")
    case = f"{tmp_path / 'bare.py'}:bare"
    with pytest.raises(SystemExit) as ended:
        main(["run", case, "--quick", "--to", "02", "--run-dir", str(found.path)])
    assert not ended.value.code
    operators = [
        [operator.kind for operator in TFLiteFile(run.models / "02_rewrite.tflite").operators]
        for run in (by_hand, found)
    ]
    assert operators[0] == operators[1]
    assert "Conv1D" in (found.models / "02_rewrite.py").read_text()
    assert found.record("02_rewrite").outputs.keys() >= {"02_rewrite.py"}


OWN = """
import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tests>notebooks")
class Gated(keras.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(3, shape[-1], 1))

    def call(self, x):
        gated = []
        for i in range(x.shape[-1]):
            one = x[..., i : i + 1]
            around = tf.nn.conv1d(one, self.kernel[:, i : i + 1], 1, "SAME")
            gated.append(one * tf.sigmoid(around))
        return tf.concat(gated, axis=-1)
"""


@pytest.mark.notebook
def test_a_trained_model_with_a_loop_goes_through_the_whole_chain(
    blobs, tmp_path, monkeypatch, capsys
):
    """What 02 puts in place of it is a program, which every later stage takes as well."""
    (tmp_path / "own_gated.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    layers = [
        keras.Input((16, 2)),
        keras.layers.Conv1D(12, 3, activation="relu"),
        import_module("own_gated").Gated(),
        keras.layers.Conv1D(8, 3, activation="relu"),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential(layers)
    fit(model, blobs, 5)
    files = saved(model, blobs, tmp_path)
    limits = ["--budget", "5 ms, 1 MB, 60 points"]
    with pytest.raises(SystemExit) as ended:
        main(["run", *files, *limits, "--import", "own_gated", "--quick", "--run-dir", "run"])
    assert not ended.value.code
    assert "budget: met" in capsys.readouterr().out
    workspace = Workspace(tmp_path / "run")
    assert [record.stage for record in workspace.records()] == list(STAGES)
    judged = workspace.record("06_tflite").within_budget
    assert judged == dict.fromkeys(("latency", "size", "accuracy"), "met")
    rewritten = load_keras(workspace.models / "02_rewrite.keras")
    assert [type(layer).__name__ for layer in rewritten.layers][1] == "Program"
    sizes = [
        len(TFLiteFile(workspace.models / f"{stage}.tflite").operators) for stage in STAGES[:2]
    ]
    assert sizes[1] < sizes[0] / 2
    assert "class FastGated" in (workspace.models / "02_rewrite.py").read_text()
    assert "class FastGated" in (workspace.path / "report.html").read_text()


@pytest.mark.notebook
def test_a_trained_model_without_a_layer_of_its_own_passes_through(blobs, tmp_path):
    layers = [keras.Input((4, 2)), keras.layers.LSTM(8), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    short = blobs.with_samples(lambda x: x[:, :4])
    fit(model, short, 2)
    files = saved(model, short, tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", *files, "--quick", "--to", "02", "--run-dir", str(tmp_path / "run")])
    assert not ended.value.code
    workspace = Workspace(tmp_path / "run")
    assert workspace.record("01_profile").epochs == 0
    for stage in ("01_profile", "02_rewrite"):
        kept = load_keras(workspace.models / f"{stage}.keras")
        for weight, own in zip(kept.weights, model.weights, strict=True):
            np.testing.assert_array_equal(weight, own)
    assert "passes through unchanged" in (workspace.notebooks / "02_rewrite.ipynb").read_text()
    assert not (workspace.models / "02_rewrite.py").exists()


@pytest.mark.notebook
def test_a_model_that_every_training_ruins_is_left_as_it_is(tmp_path):
    """Its owner has mixed up the labels of the training part, but not those of the others."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 1600)
    x = random.normal(size=(1600, 16, 2)).astype(np.float32)
    x[np.arange(1600), :, y] += 1.0
    train, val, test = slice(800), slice(800, 1200), slice(1200, None)
    data = Data(x[train], y[train], x[test], y[test], x_val=x[val], y_val=y[val])
    layers = [
        keras.Input((16, 2)),
        keras.layers.Conv1D(8, 3, activation="relu"),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential(layers)
    fit(model, data, 8, learning_rate=0.01)
    files = saved(model, replace(data, y_train=1 - y[train]), tmp_path)
    workspace = Workspace(tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        main(["run", *files, "--quick", "--to", "06", "--run-dir", str(workspace.path)])
    assert not ended.value.code
    final = workspace.record("06_tflite")
    assert final.answer.startswith("Leave the model as it is")
    assert final.within_budget["accuracy"] == "met"
    assert final.test["accuracy"] > 0.9


def saved(model, data, folder):
    """The arguments of ``kopt run`` for a model and its data, both saved under awkward names."""
    model.save(folder / "my model.keras")
    save_data(folder / "daten ü.npz", data)
    return ["--model", str(folder / "my model.keras"), "--data", str(folder / "daten ü.npz")]


def failed_alone(stage, tmp_path, **parameters):
    """Run one notebook with papermill and nothing of ours; the error it ends with."""
    with pytest.raises(PapermillExecutionError) as failed:
        papermill.execute_notebook(
            NOTEBOOKS / f"{stage}.ipynb",
            tmp_path / "out.ipynb",
            {"run_dir": str(tmp_path / "run"), "quick": True} | parameters,
            progress_bar=False,
        )
    return f"{failed.value.ename}: {failed.value.evalue}"


@pytest.mark.notebook
def test_a_notebook_without_its_predecessor_says_which_to_run(tmp_path):
    error = failed_alone("03_prune", tmp_path)
    assert error.startswith("StageError: 03_prune continues from 02_rewrite")
    assert error.endswith("run notebooks/02_rewrite.ipynb first")
    assert not (tmp_path / "run").exists()


@pytest.mark.notebook
def test_a_notebook_refuses_a_parameter_of_the_wrong_type(tmp_path):
    error = failed_alone("01_profile", tmp_path, quick="false")
    assert error == "ParameterError: quick: saw 'false'; expected True or False"


@pytest.mark.notebook
def test_a_notebook_refuses_a_parameter_it_does_not_have(tmp_path):
    error = failed_alone("03_prune", tmp_path, fractoin=0.7)
    assert error.startswith("ParameterError: fractoin: not a parameter of this notebook; expected ")
    assert "fraction" in error.partition("expected")[2]


@pytest.mark.parametrize("stage", STAGES)
def test_papermill_alone_tells_a_notebooks_parameters(stage, capsys):
    from papermill.cli import papermill as command

    with pytest.raises(SystemExit, match="0"):
        command.main(["--help-notebook", str(NOTEBOOKS / f"{stage}.ipynb")])
    shown = capsys.readouterr().out
    for name in notebook_parameters(stage):
        typed_and_described = rf"^  {name}: (str|int|bool|float) \(default .*\)\s+\S+"
        assert re.search(typed_and_described, shown, re.MULTILINE), f"{name} in {shown}"


def test_the_commands_of_the_readme_are_the_ones_tested():
    readme = (ROOT / "README.md").read_text()
    assert "uv run kopt run" in readme
    assert "uv run pytest -n 2" in readme
    assert "uv run pytest -n 2" in (ROOT / ".ci/run").read_text()
