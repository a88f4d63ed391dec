"""A sweep: every point of a grid run on Dask, timed, and collected in a table and a page."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from distributed import Client

from kopt.display.sweep_page import write_sweep_page
from kopt.errors import Interrupted, WorkspaceError
from kopt.execution.chain import notebook_parameters, select_stages
from kopt.execution.cluster import check_storage, open_cluster
from kopt.execution.engine import outcome_of, run_tree
from kopt.execution.grid import Points, read_grid
from kopt.execution.progress import Progress
from kopt.execution.results import results_table, write_table
from kopt.execution.tasks import point_directory, run_segment, time_point, topic
from kopt.execution.tree import share
from kopt.workspace.record import Record
from leankeras.claim import check_folder, claimed
from leankeras.errors import ParameterError


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
    """Run every point of a grid and write ``sweep.csv``, ``sweep.parquet`` and ``report.html``.

    Each point is an ordinary run directory, ``points/NAME`` in the folder. A point that fails does
    not stop the others. Latencies are measured again at the end, one point after another, since
    those in the points' records were taken while other workers were running.

    Args:
        grid_path: the YAML file.
        folder: the directory of the sweep.
        last: the stage to end with; 06 by default.
        scheduler: address of a Dask scheduler; by default a cluster is started on this machine.
        workers: the number of processes of that local cluster.
        resume: continue in a directory that holds this sweep; finished work is kept.
        many: whether more than 1000 points are intended.

    Returns:
        The table, see :func:`kopt.execution.results.results_table`.

    Raises:
        ParameterError: the grid is invalid, or workers are given for an existing scheduler.
        ModelError: a case's file is missing or fails.
        WorkspaceError: the directory is a file, belongs to another sweep, or is not writable.
        ClusterError: the cluster cannot be used.
        Interrupted: by Ctrl-C; finished work is kept, and resuming continues.

    Example:
        >>> run_sweep(Path("grid.yaml"), Path("runs/sweep"), workers=2)
    """
    if scheduler and workers:
        raise ParameterError(
            f"--workers {workers} is for a local cluster; start the workers of {scheduler} on the "
            "cluster itself"
        )
    stages = select_stages(None, "06" if last is None else last)  # 07 changes no model
    knobs = {stage: set(notebook_parameters(stage)) for stage in stages}
    points = read_grid(grid_path, set().union(*knobs.values()), many)
    sweep = {
        "stages": list(stages),
        "points": {point.name: point.parameters for point in points},
    }
    check_folder(folder, "sweep", sweep, resume, WorkspaceError)
    try:
        with open_cluster(scheduler, workers) as client:
            check_storage(client, folder)
            with claimed(folder, "sweep", sweep, WorkspaceError):
                return _sweep(client, points, knobs, folder)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the sweep {folder} was interrupted; repeat the command with --resume to continue"
        ) from None


def _sweep(
    client: Client, points: Points, knobs: dict[str, set[str]], folder: Path
) -> pd.DataFrame:
    """Run, time and collect."""
    progress = Progress(len(points))
    progress.say(f"{len(points)} points; dashboard: {client.dashboard_link}")
    try:
        outcomes = _run(client, points, knobs, folder.resolve(), progress)
        _time(client, points, outcomes, folder.resolve(), tuple(knobs)[-1], progress)
    finally:
        progress.close()
    table = results_table(points, outcomes)
    write_table(table, folder)
    write_sweep_page(table, list(points[0].parameters), folder / "report.html")
    return table


def _run(
    client: Client, points: Points, knobs: dict[str, set[str]], folder: Path, progress: Progress
) -> dict[str, Record | Exception]:
    """The last record of every point, or the error it failed with."""
    last = tuple(knobs)[-1]
    outcomes: dict[str, Record | Exception] = {}
    client.subscribe_topic(topic(folder), progress.stage)
    segments = share(points, knobs)
    for segment, outcome in run_tree(client, segments, partial(run_segment, sweep=folder)):
        finished = segment.stages[-1] == last
        if finished or isinstance(outcome, Exception):
            outcomes.update(dict.fromkeys(segment.points, outcome))
        progress.segment(segment, outcome, finished)
    client.unsubscribe_topic(topic(folder))
    return outcomes


def _time(
    client: Client,
    points: Points,
    outcomes: dict[str, Record | Exception],
    folder: Path,
    stage: str,
    progress: Progress,
) -> None:
    """Replace the latencies with comparable ones: one worker, one point after another."""
    worker = sorted(client.nthreads())[0]
    finished = [point for point in points if isinstance(outcomes[point.name], Record)]
    progress.say(f"timing {len(finished)} points, one after another with nothing else running")
    for point in finished:
        progress.timing(point.name)
        future = client.submit(
            time_point,
            point_directory(folder, point.name),
            stage,
            workers=[worker],
            allow_other_workers=True,  # in case this one is lost
            pure=False,
        )
        outcome = outcome_of(future)
        if not isinstance(outcome, Exception):
            latency, conditions = outcome
            outcome = replace(outcomes[point.name], latency=latency, conditions=conditions)
        outcomes[point.name] = outcome
