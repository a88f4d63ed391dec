import json
import multiprocessing
import os

import pytest

from kopt.errors import WorkspaceError
from kopt.workspace.directory import Workspace
from kopt.workspace.record import Record, summary, verdict
from leankeras.budget import Budget
from leankeras.digest import digest
from leankeras.task import Merit
from tests.kopt.workspace.holding import PATIENCE


def accuracy(share, lost, margin=0.005):
    """A part of a record that says how accurate a file is."""
    return {
        "accuracy": share,
        "accuracy_lost": lost,
        "lost_low": lost - margin,
        "lost_high": lost + margin,
    }


def record(stage, inputs=None, outputs=None, **changed):
    values = {
        "stage": stage,
        "case": "signal",
        "parameters": {"quick": True},
        "epochs": 1,
        "task": "classification, judged by accuracy",
        "merit": Merit("accuracy", "accuracy"),
        "test": accuracy(0.8, 0.01),
        "validation": accuracy(0.82, 0.0),
        "size_bytes": 2000,
        "gzip_bytes": 1000,
        "latency": {
            "us": 5.0,
            "us_low": 4.9,
            "us_high": 5.1,
            "p95_us": 6.0,
            "ratio": 0.1,
            "ratio_low": 0.08,
            "ratio_high": 0.125,
        },
        "budget": Budget(latency_us=5.0, size_kb=1.0, accuracy_loss=0.02),
        "conditions": "12 blocks of time",
        "inputs": inputs or {},
        "outputs": outputs or {},
        "environment": {"python": "3.11"},
        "seconds": 1.0,
        "tables": {"t": [{"a": 1, "b": float("nan")}]},
    }
    return Record(**(values | changed))


def leave(workspace, stage, content, inputs=None):
    """What a stage leaves, with its record."""
    file = workspace.models / f"{stage}.tflite"
    file.write_text(content)
    made = record(stage, inputs, {file.name: digest(file)})
    workspace.record_path(stage).write_text(made.to_json())
    return made.outputs


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path / "run")
    workspace.claim("signal", "a test")
    yield workspace
    workspace.release()


def test_records_come_back_as_they_were(workspace):
    leave(workspace, "01_profile", "model")
    assert workspace.record("01_profile").table("t").a.tolist() == [1]
    assert [found.stage for found in workspace.records()] == ["01_profile"]
    assert workspace.record("02_rewrite") is None


def test_a_stage_is_fresh_until_what_it_stands_on_changes(workspace):
    first = leave(workspace, "01_profile", "model")
    second = leave(workspace, "02_rewrite", "better", {"01_profile": first})
    leave(workspace, "03_prune", "smaller", {"02_rewrite": second})
    assert workspace.stale_because("03_prune") is None
    leave(workspace, "01_profile", "another model")
    assert workspace.stale_because("01_profile") is None
    reason = "01_profile was run again after 02_rewrite"
    assert workspace.stale_because("02_rewrite") == reason
    assert workspace.stale_because("03_prune") == reason


@pytest.mark.parametrize("damage", ["delete", "change"])
def test_a_file_that_is_not_the_recorded_one_makes_the_stage_stale(workspace, damage):
    leave(workspace, "01_profile", "model")
    file = workspace.models / "01_profile.tflite"
    file.unlink() if damage == "delete" else file.write_text("mod")
    assert "is not the file that 01_profile wrote" in workspace.stale_because("01_profile")


def test_a_torn_record_is_refused_by_name(workspace):
    leave(workspace, "01_profile", "model")
    path = workspace.record_path("01_profile")
    path.write_text(path.read_text()[:100])
    with pytest.raises(WorkspaceError, match=r"01_profile\.json is damaged"):
        workspace.record("01_profile")


@pytest.mark.parametrize(
    "change",
    [
        {"latency": {}},
        {"latency": {"us": 1.0, "ratio": 0, "ratio_low": 0, "ratio_high": 0}},
        {"accuracy": "x"},
        {"parameters": {}},
        {"inputs": {"02_rewrite": {}}},
        {"unknown": 1},
    ],
)
def test_a_record_that_no_stage_wrote_is_refused(workspace, change):
    leave(workspace, "01_profile", "model")
    path = workspace.record_path("01_profile")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WorkspaceError, match=r"01_profile\.json is damaged"):
        workspace.record("01_profile")


def test_a_damaged_owner_is_named_and_nothing_is_locked(workspace):
    workspace.release()
    (workspace.path / "case.json").write_text("{")
    with pytest.raises(WorkspaceError, match=r"case\.json is damaged"):
        Workspace(workspace.path).claim("signal", "01_profile")


def claim_elsewhere(path, writer, ready, done):
    workspace = Workspace(path)
    workspace.claim("signal", writer)
    ready.set()
    done.wait(PATIENCE)


def test_the_second_writer_is_refused_by_name(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    other = spawn.Process(target=claim_elsewhere, args=(tmp_path, "03_prune", ready, done))
    other.start()
    try:
        assert ready.wait(PATIENCE)
        with pytest.raises(WorkspaceError, match=rf"written by 03_prune \(process {other.pid}\)"):
            Workspace(tmp_path).claim("signal", "04_distil")
    finally:
        done.set()
        other.join()
    Workspace(tmp_path).claim("signal", "04_distil")


def test_a_directory_of_another_case_is_refused_and_not_locked(workspace):
    workspace.release()
    with pytest.raises(WorkspaceError, match="belongs to the case 'signal', not 'vision'"):
        Workspace(workspace.path).claim("vision", "01_profile")
    Workspace(workspace.path).claim("signal", "01_profile")


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "run").write_text("hello")
    with pytest.raises(WorkspaceError, match="is a file"):
        Workspace(tmp_path / "run").claim("signal", "01_profile")


def test_a_directory_that_cannot_be_written_is_refused():
    path = "/proc/kopt-run" if os.path.isdir("/proc") else "/dev/null/run"
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Workspace(path).claim("signal", "01_profile")


def test_a_kernel_may_run_its_first_cell_again(workspace):
    Workspace(workspace.path).claim("signal", "01_profile")


def test_the_summary_turns_ratios_into_speedups_and_names_what_is_open():
    records = [record("01_profile", test=accuracy(0.8, 0.0, 0.0)), record("02_rewrite")]
    table = summary(records)
    assert table.loc["02_rewrite", ["speedup", "speedup_low", "speedup_high"]].tolist() == [
        10,
        8,
        12.5,
    ]
    assert table.budget["02_rewrite"] == "latency cannot tell, size missed"
    assert verdict(records).startswith("After 02_rewrite: 10× [8, 12.5]")


def test_a_directory_that_holds_other_things_is_no_run_directory(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(WorkspaceError, match=r"not a run directory \(it contains README.md\)"):
        Workspace(tmp_path).claim("signal", "kopt run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "notebooks"]
