"""A stage at work on a small model: what it compares, measures and leaves."""

import gzip
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kopt.cases.signal import CASE
from kopt.display.report import write_report
from kopt.errors import WorkspaceError
from kopt.workspace.directory import Workspace
from kopt.workspace.record import RESTARTED_AFTER, STAGES, Record, verdict
from kopt.workspace.stage import Stage
from leankeras.budget import Budget
from leankeras.conversion.tflite import convert
from leankeras.runtime import compare_scores, evaluate, latency
from leankeras.searching import Candidate
from leankeras.task import Task
from leankeras.training import fit

GENEROUS = Budget(latency_us=1e9, size_kb=1e6, accuracy_loss=0.99)
STRICT = Budget(latency_us=1e-6, size_kb=1e-6, accuracy_loss=-0.99)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.01)


@pytest.fixture
def stage(blobs, tmp_path):
    """The first stage of a run on the blobs, its directory claimed."""
    workspace = Workspace(tmp_path / "run")
    workspace.claim("signal", "the test")
    parameters = {"case": "signal", "seed": 0, "quick": False, "epochs": 1}
    data = replace(blobs, task=Task.classification())
    return Stage("01_profile", replace(CASE, budget=GENEROUS), data, workspace, parameters)


@pytest.fixture
def trained(small_model, blobs):
    fit(small_model, blobs, 10, learning_rate=0.02)
    return small_model


def test_models_and_files_are_compared_against_any_of_them(stage, trained, blobs, tmp_path):
    half = convert(trained, tmp_path / "half.tflite", "float16").path
    table = stage.compare({"model": trained, 0.5: half}, reference=0.5)
    assert table.loc[0.5, ["accuracy_lost", "ratio", "verdict"]].tolist() == [0, 1, "reference"]
    assert table.loc["model", "verdict"] != "reference"
    assert table.size_kb[0.5] == half.stat().st_size / 1000
    assert table.gzip_kb[0.5] == len(gzip.compress(half.read_bytes())) / 1000
    scores = evaluate(trained, blobs.x_val, blobs.y_val)
    assert table.accuracy["model"] == scores["accuracy"]
    assert stage.compare({"model": trained, "half": half}).verdict["model"] == "reference"
    stage.case = replace(stage.case, budget=STRICT)
    assert "nothing is within the budget" in stage.choose(table, given=0.5)[1]
    assert stage.largest_share(table.loc[[0.5]]) == 0


def test_the_record_says_what_the_file_is(stage, trained, blobs):
    by_two = pd.DataFrame({"a": [1], "b": [2], "c": [3]}).set_index(["a", "b"])
    stage.finish(trained, tables={"noted": stage.compare({"model": trained}), "by_two": by_two})
    record = Record.from_json(stage.workspace.record_path(stage.name).read_text())
    file = stage.file(stage.name)
    assert record.size_bytes == file.stat().st_size
    assert record.gzip_bytes == len(gzip.compress(file.read_bytes()))
    assert record.test["accuracy"] == evaluate(file, blobs.x_test, blobs.y_test)["accuracy"]
    assert record.test["accuracy_lost"] == 0
    scores = evaluate(file, blobs.x_val, blobs.y_val)
    assert record.validation["accuracy"] == scores["accuracy"]
    assert record.latency["us_low"] <= record.latency["us"] <= record.latency["us_high"]
    assert record.latency["ratio_low"] <= record.latency["ratio"] <= record.latency["ratio_high"]
    assert "blocks of time" in record.conditions
    assert record.table("noted").target.tolist() == ["model"]
    assert record.table("by_two").to_dict("list") == {"a": [1], "b": [2], "c": [3]}
    assert stage.workspace.stale_because(stage.name) is None
    stage.workspace.claim("signal", "the next stage")


def test_python_is_kept_beside_the_models_and_leaves_with_the_stage_that_wrote_it(stage, trained):
    stage.finish(trained, source="µs = 1\n")
    path = stage.workspace.models / "01_profile.py"
    assert path.read_text(encoding="utf-8") == "µs = 1\n"
    assert path.name in stage.workspace.record(stage.name).outputs
    page = write_report([stage.workspace], stage.workspace.path / "report.html").read_text("utf-8")
    assert "µs = 1" in page
    assert str(path) in page
    stage.finish(trained)
    assert not path.exists()
    assert stage.workspace.stale_because(stage.name) is None


def test_the_next_stage_continues_from_the_model_and_is_held_against_the_first(
    stage, trained, small_model, blobs, monkeypatch
):
    stage.finish(trained)
    assert stage.workspace.record(stage.name).crash is None
    after = Stage(STAGES[1], stage.case, stage.data, stage.workspace, {"quick": False})
    np.testing.assert_array_equal(after.load()(blobs.x_test), trained(blobs.x_test))
    weak = after.load()
    weak.set_weights([0 * weights for weights in weak.get_weights()])
    monkeypatch.setenv(RESTARTED_AFTER, "SIGABRT")
    after.finish(weak)
    record = stage.workspace.record(after.name)
    files = {name: after.file(name) for name in STAGES[:2]}
    lost = compare_scores(files, blobs, "test").accuracy_lost[STAGES[1]]
    assert record.test["accuracy_lost"] == lost > 0.2
    assert record.crash == "02_rewrite crashed (SIGABRT) and ran again without oneDNN"
    assert record.inputs == {STAGES[0]: stage.workspace.record(STAGES[0]).outputs}


@pytest.mark.parametrize(
    ("budget", "states"),
    [
        (GENEROUS, {"latency": "met", "size": "met", "accuracy": "met"}),
        (STRICT, {"latency": "missed", "size": "missed", "accuracy": "missed"}),
        (Budget(size_kb=1e6), {"size": "met"}),
        (Budget(), {}),
    ],
)
def test_only_the_limits_there_are_can_be_missed(stage, trained, budget, states):
    stage.case = replace(CASE, budget=budget)
    stage.finish(trained)
    assert stage.workspace.record(stage.name).within_budget == states


def test_a_model_that_cannot_be_kept_leaves_no_record(stage, trained):
    (stage.workspace.models / "01_profile.tflite").mkdir()
    with pytest.raises(WorkspaceError, match="expected the name of a file"):
        stage.finish(trained)
    assert stage.workspace.records() == []


def test_the_answer_may_be_to_leave_the_model_as_it_is(stage, trained, tmp_path):
    stage.finish(trained)
    int8 = convert(trained, tmp_path / "a.tflite", "int8", stage.data.calibration()).path
    plain = {"float32": stage.file(stage.name), "int8": int8}
    answers = [stage.answer(file, plain) for file in (int8, stage.file(stage.name))]
    assert answers == [
        f"Leave the rewritten model as it is and deploy its plain {mode} file."
        for mode in ("int8", "float32")
    ]
    stage.case = replace(stage.case, rewrites=())
    assert stage.answer(int8, plain).startswith(
        "Leave the model as it is and deploy its plain int8"
    )
    half = convert(trained, tmp_path / "half.tflite", "float16").path
    assert stage.answer(half, plain) == ""


def test_a_case_says_more_than_its_score(stage, trained):
    def right_of(outputs, labels):
        return f"{(outputs.argmax(-1) == labels).sum()} of {len(labels)} right"

    stage.case = replace(stage.case, remark=right_of)
    outcome = stage.finish(trained, answer="Deploy it.")
    record = stage.workspace.record(stage.name)
    right = round(record.test["accuracy"] * len(stage.data.y_test))
    assert record.remark == f"{right} of {len(stage.data.y_test)} right"
    assert str(outcome).endswith(f"{record.remark}\nDeploy it.")
    assert f"<p>{record.remark}</p><p>Deploy it.</p>" in outcome._repr_html_()
    assert f", {record.remark}; budget: met. Deploy it." in verdict([record])


def test_a_chain_sets_the_epochs_and_what_is_chosen(stage, blobs, tmp_path):
    path = tmp_path / "chain.json"
    path.write_text(Candidate({"conv": 0.5}, prune_epochs=7, distil_epochs=3).to_json())
    parameters = {"case": "signal", "seed": 0, "quick": False, "chain": str(path)}
    follows = {
        name: Stage(name, CASE, stage.data, stage.workspace, parameters) for name in STAGES[1:5]
    }
    assert [each.epochs for each in follows.values()] == [0, 7, 3, CASE.epochs.qat]
    assert follows["03_prune"].chain.shares == {"conv": 0.5}
    table = pd.DataFrame({"ratio": [0.1, 0.9]}, index=["fast", "chain"])
    chosen, why = follows["03_prune"].choose(table, given="fast")
    assert (chosen, why) == ("chain", f"chain (as {path} asks)")
    assert stage.chain is None
