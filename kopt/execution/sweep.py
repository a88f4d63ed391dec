"""A sweep: every point of a grid run on Dask, timed, and brought together in a table and a page."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from distributed import Client

from kopt.display.sweep_page import write_sweep_page
from kopt.errors import Interrupted, WorkspaceError
from kopt.execution.chain import notebook_parameters, select_stages
from kopt.execution.cluster import check_storage, open_cluster
from kopt.execution.engine import outcome_of, run_tree
from kopt.execution.grid import Grid, read_grid
from kopt.execution.progress import Progress
from kopt.execution.results import results_table, write_table
from kopt.execution.tasks import point_directory, run_segment, time_point, topic
from kopt.execution.tree import share
from kopt.workspace.lock import NamedLock
from kopt.workspace.record import Record
from leankeras.errors import ParameterError
from leankeras.files import write_atomically


def run_sweep(
    grid_path: Path,
    folder: Path,
    *,
    last: str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    resume: bool = False,
    many: bool = False,
) -> pd.DataFrame:
    """Run every point of a grid and leave ``sweep.csv``, ``sweep.parquet`` and ``report.html``.

    Each point is an ordinary run directory, ``points/NAME`` in the folder. A point that fails
    stops no other. Latencies are taken anew at the end, one point after another, since those in
    the points' records were taken while other workers ran.

    Args:
        grid_path: the YAML file.
        folder: the directory of the sweep.
        last: the stage to end with; by default the last there is.
        scheduler: address of a Dask scheduler; by default a cluster of this machine's own.
        workers: processes of that cluster.
        resume: go on in a directory that holds this sweep; what is finished stays.
        many: whether more than 1000 points are meant.

    Returns:
        The table, see :func:`kopt.execution.results.results_table`.

    Raises:
        ParameterError: the grid is not good, or workers are asked of a scheduler that runs.
        ModelError: a case's file is not there or fails.
        WorkspaceError: the directory is a file, another sweep's, or cannot be written.
        ClusterError: the cluster cannot be used.
        Interrupted: by Ctrl-C; what is finished stays, and resuming goes on.

    Example:
        >>> run_sweep(Path("grid.yaml"), Path("runs/sweep"), workers=2)
    """
    if scheduler and workers:
        raise ParameterError(
            f"--workers {workers} is for a cluster of its own; the workers of {scheduler} are "
            "started where it runs"
        )
    stages = select_stages(None, last)
    knobs = {stage: set(notebook_parameters(stage)) for stage in stages}
    grid = read_grid(grid_path, set().union(*knobs.values()), many)
    sweep = {
        "stages": list(stages),
        "points": {point.name: point.parameters for point in grid.points},
    }
    _check_folder(folder, sweep, resume)
    try:
        with open_cluster(scheduler, workers) as client:
            check_storage(client, folder)
            with _claimed(folder, sweep):
                return _sweep(client, grid, knobs, folder)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the sweep {folder} was interrupted; the same command with --resume goes on"
        ) from None


def _sweep(client: Client, grid: Grid, knobs: dict[str, set[str]], folder: Path) -> pd.DataFrame:
    """Run, time and bring together."""
    progress = Progress(len(grid.points))
    progress.say(f"{len(grid.points)} points; dashboard: {client.dashboard_link}")
    try:
        outcomes = _run(client, grid, knobs, folder.resolve(), progress)
        _time(client, grid, outcomes, folder.resolve(), tuple(knobs)[-1], progress)
    finally:
        progress.close()
    table = results_table(grid, outcomes)
    write_table(table, folder)
    write_sweep_page(table, list(grid.points[0].parameters), folder / "report.html")
    return table


def _run(
    client: Client, grid: Grid, knobs: dict[str, set[str]], folder: Path, progress: Progress
) -> dict[str, Record | Exception]:
    """The last record of every point, or what it failed with."""
    last = tuple(knobs)[-1]
    outcomes: dict[str, Record | Exception] = {}
    client.subscribe_topic(topic(folder), progress.stage)
    segments = share(grid.points, knobs)
    for segment, outcome in run_tree(client, segments, partial(run_segment, sweep=folder)):
        finished = segment.stages[-1] == last
        if finished or isinstance(outcome, Exception):
            outcomes.update(dict.fromkeys(segment.points, outcome))
        progress.segment(segment, outcome, finished)
    client.unsubscribe_topic(topic(folder))
    return outcomes


def _time(
    client: Client,
    grid: Grid,
    outcomes: dict[str, Record | Exception],
    folder: Path,
    stage: str,
    progress: Progress,
) -> None:
    """Replace the latencies by such as can be compared: one worker, one point after another."""
    worker = sorted(client.nthreads())[0]
    finished = [point for point in grid.points if isinstance(outcomes[point.name], Record)]
    progress.say(f"timing {len(finished)} points, one after another with nothing beside them")
    for point in finished:
        progress.timing(point.name)
        future = client.submit(
            time_point,
            point_directory(folder, point.name),
            stage,
            workers=[worker],
            allow_other_workers=True,  # should this one be lost
            pure=False,
        )
        outcome = outcome_of(future)
        if not isinstance(outcome, Exception):
            latency, conditions = outcome
            outcome = replace(outcomes[point.name], latency=latency, conditions=conditions)
        outcomes[point.name] = outcome


def _check_folder(folder: Path, sweep: dict[str, Any], resume: bool) -> None:
    """Refuse a directory that is not this sweep's to write in; writes nothing."""
    if folder.exists() and not folder.is_dir():
        raise WorkspaceError(f"{folder} is a file; expected a directory for the sweep")
    known = folder / "sweep.json"
    if not known.exists():
        if resume:
            raise WorkspaceError(f"{folder} holds no sweep to go on with; leave --resume out")
        if folder.exists() and any(folder.iterdir()):
            raise WorkspaceError(f"{folder} is not empty and no sweep's; choose another --run-dir")
        return
    try:
        same = json.loads(known.read_text()) == sweep
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{known} is damaged ({error}); choose another --run-dir") from error
    if not same:
        raise WorkspaceError(f"{folder} holds the sweep of another grid; choose another --run-dir")
    if not resume:
        raise WorkspaceError(
            f"{folder} holds this sweep already; go on with --resume, or choose another --run-dir"
        )


@contextmanager
def _claimed(folder: Path, sweep: dict[str, Any]) -> Iterator[None]:
    """The directory, made and locked against a second sweep."""
    lock = NamedLock(folder.resolve() / ".lock")
    text = json.dumps(sweep, indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holder = lock.acquire("kopt sweep")
        if holder:
            raise WorkspaceError(f"{folder} is being swept by {holder}; wait for it")
        write_atomically(folder / "sweep.json", lambda path: path.write_text(text), WorkspaceError)
    except OSError as error:
        raise WorkspaceError(
            f"{folder} cannot be written ({error.strerror}); choose another --run-dir"
        ) from error
    try:
        yield
    finally:
        lock.release()
