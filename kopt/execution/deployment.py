"""The final file of a run on its devices, and the run's own record of what is where."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from kopt.cases.catalogue import find_case
from kopt.errors import StageError, WorkspaceError
from kopt.workspace.directory import Workspace
from kopt.workspace.record import STAGES
from leankeras.devices import deploy, rollback
from leankeras.files import check_place, write_text

RECORD = "deployments.json"


def final_file(workspace: Workspace) -> Path:
    """The file that the last finished stage of a run left.

    Raises:
        WorkspaceError: it is not a run directory, or a file or record in it is damaged.
        StageError: the stage is stale.
    """
    records = workspace.records()
    if not records:
        raise WorkspaceError(f"{workspace.path} has no finished stage; run kopt run first")
    last = records[-1].stage
    if reason := workspace.stale_because(last):
        raise StageError(f"{last} is stale ({reason}); run it again before its file is used")
    return workspace.models / f"{last}.tflite"


def deploy_run(workspace: Workspace, target: str, install: bool, say: Callable[[str], None]) -> str:
    """Ship a run's final file; see :func:`leankeras.devices.deploy`.

    Returns:
        What serves there now, in words.
    """
    file = final_file(workspace)
    record = workspace.record(file.stem)
    check_place(workspace.path / RECORD, [".json"])
    deployments(workspace)  # a damaged one is noticed before anything is shipped
    samples = find_case(record.parameters["case"]).load().x_test
    slow = workspace.models / f"{STAGES[0]}.tflite"
    done = deploy(file, target, samples, slow=slow, install=install, say=say)
    _note(workspace, done.target, digest=done.digest, stage=record.stage, ratio=done.ratio)
    return str(done)


def rollback_run(workspace: Workspace, target: str) -> str:
    """Have a device serve the file before the current one, whichever run that is from.

    Returns:
        What serves there now, in words.
    """
    known = deployments(workspace)
    done = rollback(target)
    ours = {entry["digest"]: entry["stage"] for entry in known.values()}
    _note(workspace, done.target, digest=done.digest, stage=ours.get(done.digest), ratio=None)
    return str(done)


def deployments(workspace: Workspace) -> dict[str, dict]:
    """What this run left on each target: the digest, the stage, the ratio measured there."""
    path = workspace.path / RECORD
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise WorkspaceError(f"{path} is damaged ({error}); delete it") from error


def _note(workspace: Workspace, target: str, **values) -> None:
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **values}
    text = json.dumps(deployments(workspace) | {target: entry}, indent=1)
    write_text(workspace.path / RECORD, text, WorkspaceError)
