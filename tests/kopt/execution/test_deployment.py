"""``kopt deploy`` on a run directory, by a real ssh server on loopback."""

import json

import pytest

from kopt.execution.deployment import deployments
from kopt.workspace.directory import Workspace
from leankeras.conversion import convert
from leankeras.digest import digest
from tests.kopt.test_cli import kopt
from tests.kopt.workspace.test_directory import record
from tests.leankeras.devices.conftest import host, sshd  # noqa: F401 (fixtures)
from tests.saving import save_data


@pytest.fixture
def run_dir(small_model, blobs, tmp_path):
    """A run of a trained model with its first and its last stage, each with a file of its own."""
    small_model.save(tmp_path / "own.keras")
    save_data(tmp_path / "own.npz", blobs)
    workspace = Workspace(tmp_path / "run")
    workspace.claim("own", "a test")
    case = {"quick": True, "case": f"{tmp_path}/own.keras:{tmp_path}/own.npz"}
    for stage, mode in {"01_profile": "float32", "06_tflite": "int8"}.items():
        file = workspace.models / f"{stage}.tflite"
        convert(small_model, file, mode, blobs.x_train)
        made = record(stage, None, {file.name: digest(file)}, case="own", parameters=case)
        workspace.record_path(stage).write_text(made.to_json())
    workspace.release()
    return workspace.path


def test_the_final_file_of_a_run_is_deployed_and_rolled_back(host, run_dir, tmp_path, capsys):  # noqa: F811
    target, device = host.target(tmp_path / "device"), tmp_path / "device"
    final = run_dir / "models" / "06_tflite.tflite"
    code, out, _ = kopt("deploy", run_dir, target, capsys=capsys)
    assert code == 0
    assert f"is {digest_of(device)[:12]}, the first file there" in out
    assert "as fast as the slow file" in out
    assert (device / "current" / "model.tflite").read_bytes() == final.read_bytes()
    (known,) = deployments(Workspace(run_dir)).items()
    assert known[0] == target
    assert (known[1]["digest"], known[1]["stage"]) == (digest_of(device), "06_tflite")
    code, out, _ = kopt("deploy", run_dir, capsys=capsys)
    assert out.startswith(f"{target}: {digest_of(device)[:12]} (06_tflite)")
    code, _, complaint = kopt("deploy", run_dir, target, "--rollback", capsys=capsys)
    assert code == 2
    assert complaint.endswith("no file served before this one; deploy another\n")
    Workspace(run_dir).claim("own", "a test")  # still a run directory like any other


def digest_of(device):
    return (device / "current").resolve().name


def test_what_cannot_be_deployed_is_refused_in_a_line(run_dir, tmp_path, capsys):
    final = run_dir / "models" / "06_tflite.tflite"
    for change, message in {
        lambda: None: "expected USER@HOST:DIRECTORY",
        lambda: (run_dir / "deployments.json").write_text("{"): "deployments.json is damaged",
        lambda: final.write_bytes(b"other"): "06_tflite is stale",
    }.items():
        change()
        code, out, complaint = kopt("deploy", run_dir, "nowhere", capsys=capsys)
        assert (code, out, len(complaint.splitlines())) == (2, "", 1)
        assert message in complaint
    code, _, complaint = kopt("deploy", tmp_path / "none", "me@host:dir", capsys=capsys)
    assert (code, "has no finished stage" in complaint) == (2, True)
    assert not (tmp_path / "none").exists()
    assert json.loads((run_dir / "case.json").read_text()) == {"case": "own"}
