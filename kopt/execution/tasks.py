"""What a Dask worker does for a sweep: run the notebooks of a segment, time a finished point."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from distributed import get_worker

from kopt.errors import WorkspaceError
from kopt.execution.chain import notebook_parameters, run_chain
from kopt.execution.tree import Segment
from kopt.workspace.directory import Workspace
from kopt.workspace.record import STAGES, Record
from leankeras.files import copy, write_atomically


def topic(sweep: Path) -> str:
    """The Dask topic under which the workers of a sweep report."""
    return f"kopt sweep {sweep}"


def point_directory(sweep: Path, point: str) -> Path:
    """The run directory of a point."""
    return sweep / "points" / point


def run_segment(segment: Segment, sweep: Path) -> Record:
    """Run those notebooks of a segment that are not done yet.

    A run that was killed continues after its last finished stage.

    Args:
        segment: the segment to run.
        sweep: the directory of the sweep, visible to this process and to the client.

    Returns:
        The record of its last stage, without the tables.

    Raises:
        ChainError: a cell failed.
        WorkspaceError: the directories cannot be read or written.
    """
    workspace = Workspace(point_directory(sweep, segment.point))
    if segment.origin not in (None, segment.point):
        take_over(Workspace(point_directory(sweep, segment.origin)), workspace, segment.before)
    for stage in segment.stages:
        get_worker().log_event(topic(sweep), {"point": segment.point, "stage": stage})
        known = notebook_parameters(stage)
        given = {name: value for name, value in segment.parameters.items() if name in known}
        before = workspace.record(stage)
        run_chain(workspace, given, (stage,), resume=True, say=lambda line: None)
        record = workspace.record(stage)
        if record.crash and record != before:
            get_worker().log_event(topic(sweep), {"point": segment.point, "crash": record.crash})
    return replace(workspace.record(segment.stages[-1]), tables={})


def take_over(source: Workspace, target: Workspace, stages: tuple[str, ...]) -> None:
    """Copy the files of stages from another run directory, each record last, as a stage does.

    They are copies, not links: a later run in one directory must not affect the others.
    """
    for stage in stages:
        record = source.record_path(stage)
        if not record.is_file():
            raise WorkspaceError(
                f"{source.path} has lost the record of {stage}, which {target.path} continues "
                "from; run the sweep again with --resume"
            )
        taken = target.record_path(stage)
        if taken.is_file() and taken.read_bytes() == record.read_bytes():
            continue
        models = [source.models / name for name in source.record(stage).outputs]
        for path in (*models, source.notebooks / f"{stage}.ipynb", record):
            place = target.path / path.relative_to(source.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, partial(copy, path), WorkspaceError)


def time_point(point: Path, stage: str) -> tuple[dict[str, float], str]:
    """Time the file of a stage alongside the slow model, on random input of the model's shape.

    Args:
        point: the run directory.
        stage: the stage whose ``.tflite`` to time.

    Returns:
        The latency as stored in a :class:`Record`, and the conditions it was measured under.
    """
    from leankeras.runtime import compare_latency, random_sample

    models = Workspace(point).models
    files = {"slow": models / f"{STAGES[0]}.tflite", "this": models / f"{stage}.tflite"}
    comparison = compare_latency(files, random_sample(files["slow"]), reference="slow")
    return comparison.table.loc["this"].drop("verdict").to_dict(), comparison.conditions
