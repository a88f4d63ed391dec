"""A search on Dask: what its trials share, computed once, and where it is kept."""

import json
import logging
import shlex
import sys
import time
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import keras
from distributed import Client, Future

from kopt.cases.catalogue import absolute_case, case_name, find_case
from kopt.display.report import write_page
from kopt.errors import Interrupted, WorkspaceError
from kopt.execution.chain import run_chain
from kopt.execution.cluster import check_storage, open_cluster
from kopt.execution.engine import outcome_of
from kopt.parameters import PARAMETERS
from kopt.project import RUNS
from kopt.workspace.directory import Workspace
from kopt.workspace.record import STAGES
from kopt.workspace.stage import Stage, view_stage
from leankeras.budget import Budget
from leankeras.claim import check_folder, claimed
from leankeras.errors import ParameterError
from leankeras.files import write_atomically, write_text
from leankeras.parameters import check_parameters
from leankeras.runtime import load_keras, measure_briefly
from leankeras.searching import (
    DaskPool,
    Materials,
    Search,
    Settings,
    Space,
    find_space,
    page_sections,
    run_session,
)
from leankeras.training import fit


def search(
    case: str,
    budget: str | Budget | None = None,
    *,
    quick: bool = False,
    task: str | None = None,
    run_dir: str | Path | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    resume: bool = False,
    **settings: Any,
) -> Search:
    """Search for the chain whose file is best within a budget.

    Trials are judged on validation data; the test part is used once, for the finalists.

    Args:
        case: a case's name, ``FILE.py:NAME``, or ``MODEL.keras:DATA``.
        budget: such as "3 us, 15 kB, 0.5 points", or a Budget; by default the case's own.
        quick: few samples and epochs, to check that everything works.
        task: what the labels mean; by default inferred.
        run_dir: where to keep the search; ``runs/search-CASE`` by default.
        scheduler: the address of a Dask scheduler; by default a cluster is started here.
        workers: the number of processes of that local cluster.
        resume: continue the search in its directory.
        settings: ``minutes``, ``trials``, ``goal``, ``seed``, ``modes`` and ``sampler``; see
            :class:`leankeras.searching.Settings`.

    Returns:
        The :class:`leankeras.searching.Search`.

    Raises:
        ParameterError: an argument is out of range, or no model can keep the budget.
        WorkspaceError, ClusterError: as from :func:`kopt.execution.sweep.run_sweep`.
        Interrupted: by Ctrl-C; the trials so far are kept.

    Example:
        >>> found = kopt.search("signal", "5 us, 0.5 points", minutes=30)
        >>> found.best, found.table, found.front
    """
    started = time.monotonic()
    if not isinstance(case, str):
        raise ParameterError(f"case: saw a {type(case).__name__}; expected a name or FILE.py:NAME")
    if scheduler and workers:
        raise ParameterError(f"--workers {workers} is for a local cluster, not for {scheduler}")
    given = {"seed": settings.get("seed", 0), "quick": quick, "task": task}
    check_parameters(given, PARAMETERS)
    found = find_case(case)
    limits = Budget.parse(budget) if isinstance(budget, str) else budget or found.budget
    asked = Settings(limits, started=started, **settings)
    given = {"case": absolute_case(case), **given}
    identity, folder = given | asked.identity, Path(run_dir or RUNS / f"search-{case_name(case)}")
    check_folder(folder, "search", identity, resume, WorkspaceError)
    data = found.load()
    aim = asked.aim(found.build(), replace(data, task=task or data.task))
    place = folder.resolve()
    try:
        with open_cluster(scheduler, workers) as client:
            check_storage(client, folder)
            with claimed(folder, "search", identity, WorkspaceError):
                shared = partial(_materials, place, json.dumps(given))
                space = _prepare(client, place, json.dumps(given), asked)
                pool = DaskPool(client, shared, outcome_of)
                reference = place / "run" / "models" / f"{STAGES[1]}.tflite"
                command = _command(folder, given, budget if isinstance(budget, str) else None)
                done = run_session(asked, aim, space, pool, place, reference, command)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the search {folder} was interrupted; repeat the command with --resume to continue"
        ) from None
    title = f"Search: the {aim.name} within {limits}"
    page = write_page(title, page_sections(*done), folder / "report.html")
    return replace(done[0], report=page)


def _command(folder: Path, given: dict[str, Any], budget: str | None) -> str:
    """The command that makes the winner's chain again, in the notebooks."""
    named = {"chain": str(folder / "winner.json"), "seed": str(given["seed"])}
    pairs = [word for pair in named.items() for word in ("-p", *pair)]
    options = {"--task": given["task"], "--budget": budget, "--run-dir": str(folder / "again")}
    words = [word for pair in options.items() if pair[1] for word in pair]
    return shlex.join(["kopt", "run", given["case"], *pairs, *["--quick"] * given["quick"], *words])


def _prepare(client: Client, folder: Path, given: str, asked: Settings) -> Space:
    """What all trials share, on the workers: stages 01 and 02, the teacher, the space."""
    print(f"dashboard: {client.dashboard_link}", file=sys.stderr)
    print("once for all trials: 01, 02, the teacher, the space", file=sys.stderr, flush=True)
    _finish(client.submit(_first_stages, folder, given, pure=False))
    teacher = client.submit(_teacher, folder, given, pure=False)
    path = _finish(client.submit(_space, folder, given, asked, pure=False))
    _finish(teacher)
    return Space.from_json(path.read_text(encoding="utf-8"))


def _finish(future: Future) -> Any:
    outcome = outcome_of(future)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _first_stages(folder: Path, given: str) -> None:
    parameters = {name: value for name, value in json.loads(given).items() if value is not None}
    run_chain(Workspace(folder / "run"), parameters, STAGES[:2], True, say=lambda line: None)


@lru_cache(maxsize=1)
def _stage(folder: Path, given: str) -> Stage:
    parameters = json.loads(given)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # many models, each traced anew
    if parameters["quick"]:
        measure_briefly()
    return view_stage("03_prune", parameters["case"], folder / "run", parameters)


@lru_cache(maxsize=1)
def _materials(folder: Path, given: str) -> Materials:
    stage, teacher = _stage(folder, given), folder / "teacher.keras"
    model = stage.load("02_rewrite")
    return Materials(
        model=model,
        teacher=load_keras(teacher) if teacher.exists() else model,
        data=stage.data,
        slow=stage.file(STAGES[0]),
        seed=json.loads(given)["seed"],
    )


def _teacher(folder: Path, given: str) -> None:
    """Train the case's teacher, if it has one, as 04 does."""
    stage, path = _stage(folder, given), folder / "teacher.keras"
    if stage.case.build_teacher and not path.exists():
        keras.utils.set_random_seed(json.loads(given)["seed"])
        teacher = stage.case.build_teacher()
        fit(teacher, stage.data, stage.case_epochs("profile"))
        write_atomically(path, teacher.save, WorkspaceError)


def _space(folder: Path, given: str, asked: Settings) -> Path:
    path = folder / "space.json"
    if not path.exists():
        stage = _stage(folder, given)
        model = stage.load("02_rewrite")
        shared = Materials(model, model, stage.data, stage.file(STAGES[0]), asked.seed)
        space = find_space(shared, vars(stage.all_epochs), asked.modes, asked.budget)
        write_text(path, space.to_json(), WorkspaceError)
    return path
