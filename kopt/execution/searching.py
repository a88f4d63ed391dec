"""A search on Dask: what the trials share, the workers, and the measurement at the end."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import keras
from distributed import Client, as_completed

from kopt.cases.catalogue import absolute_case, case_name, find_case
from kopt.display.search_page import write_search_page
from kopt.errors import Interrupted, WorkspaceError
from kopt.execution.chain import run_chain
from kopt.execution.cluster import check_storage, open_cluster
from kopt.execution.engine import outcome_of
from kopt.parameters import PARAMETERS
from kopt.project import RUNS
from kopt.workspace.claim import check_folder, claimed
from kopt.workspace.directory import Workspace
from kopt.workspace.record import STAGES
from kopt.workspace.stage import Stage, view_stage
from leankeras.budget import Budget
from leankeras.errors import ParameterError
from leankeras.files import copy, write_atomically, write_text
from leankeras.modes import MODES
from leankeras.objective import find_objective
from leankeras.parameters import check_parameters
from leankeras.runtime import load_keras, measure_briefly
from leankeras.searching import (
    SAMPLERS,
    SPACE_MODES,
    Clock,
    Goal,
    Materials,
    Progress,
    Search,
    Space,
    Trials,
    check_goal,
    check_reachable,
    figures,
    finalists,
    find_space,
    in_rounds,
    judged,
    sieves_table,
    trials_table,
    what_is_missed,
)
from leankeras.training import fit

MINUTES = 30.0
FINAL_SECONDS = 10.0  # the page, the files, and what cannot be foreseen


def search(
    case: str,
    budget: str | None = None,
    *,
    goal: str = "fastest",
    minutes: float | None = None,
    trials: int | None = None,
    seed: int = 0,
    quick: bool = False,
    task: str | None = None,
    modes: Sequence[str] = SPACE_MODES,
    sampler: str = "tpe",
    run_dir: str | Path | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    resume: bool = False,
) -> Search:
    """Search for the chain whose file is best within a budget.

    Trials are judged on validation data; the test part is used once, for the finalists.

    Args:
        case: a case's name, ``FILE.py:NAME``, or ``MODEL.keras:DATA``.
        budget: such as "3 us, 15 kB, 0.5 points"; by default the case's own.
        goal: "fastest", "smallest", "accurate", or "front".
        minutes: how long to search, all included; 30 by default, if ``trials`` is not given.
        trials: how many chains to try.
        seed: of every random choice; the same seed and number of trials try the same chains.
        quick: few samples and epochs, to check that everything works.
        task: what the labels mean; by default inferred.
        modes: the modes the file may have.
        sampler: "tpe", "nsga2", or "random".
        run_dir: where to keep the search; ``runs/search-CASE`` by default.
        scheduler: the address of a Dask scheduler; by default a cluster is started here.
        workers: the number of processes of that local cluster.
        resume: continue a search in its directory.

    Returns:
        The :class:`leankeras.searching.Search`.

    Raises:
        ParameterError: an argument is out of range, or the budget cannot be met by any model.
        WorkspaceError, ClusterError: as from :func:`kopt.execution.sweep.run_sweep`.
        Interrupted: by Ctrl-C; the trials so far are kept.

    Example:
        >>> found = kopt.search("signal", "5 us, 0.5 points", minutes=30)
        >>> found.best, found.table, found.front
    """
    started = time.monotonic()
    if minutes is None and trials is None:
        minutes = MINUTES
    _check(case, minutes, trials, seed, modes, sampler, scheduler, workers)
    found, where = find_case(case), absolute_case(case)
    limits = found.budget if budget is None else Budget.parse(budget)
    check_goal(goal, limits)
    slow, data = found.build(), found.load()
    data = replace(data, task=find_objective(slow, replace(data, task=task or data.task)).task)
    aim = Goal(goal, limits, data.task.score.merit)
    identity = {
        "case": where, "budget": str(limits), "goal": goal, "seed": seed, "quick": quick,
        "task": task, "modes": list(modes), "sampler": sampler,
    }  # fmt: skip
    folder = Path(run_dir or RUNS / f"search-{case_name(case)}")
    check_folder(folder, "search", identity, resume)
    check_reachable(slow, data, limits)
    clock = Clock(None if minutes is None else 60 * minutes, FINAL_SECONDS, started)
    again = {"case": where, "seed": seed, "quick": quick} | ({"task": task} if task else {})
    try:
        with open_cluster(scheduler, workers) as client:
            check_storage(client, folder)
            with claimed(folder, "search", identity):
                shared = partial(_materials, folder.resolve(), json.dumps(again))
                pool = _DaskPool(client, shared)
                space = _prepare(client, folder.resolve(), again, tuple(modes), limits)
                made = Trials(folder / "journal.log", aim, space, sampler, seed)
                return _search(made, pool, folder, clock, trials or sys.maxsize, again, budget)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the search {folder} was interrupted; repeat the command with --resume to continue"
        ) from None


def _check(
    case: Any,
    minutes: float | None,
    trials: int | None,
    seed: int,
    modes: Sequence[str],
    sampler: str,
    scheduler: str | None,
    workers: int | None,
) -> None:
    if not isinstance(case, str):
        raise ParameterError(
            f"case: saw a {type(case).__name__}; expected its name or FILE.py:NAME, so that every "
            "worker can find it"
        )
    check_parameters({"seed": seed}, PARAMETERS)
    if minutes is not None and not 0 < minutes < 1e6:
        raise ParameterError(f"minutes: saw {minutes}; expected a number above 0")
    if trials is not None and trials < 2:
        raise ParameterError(
            f"trials: saw {trials}; expected at least 2, the default chain and the model as it is"
        )
    if sampler not in SAMPLERS:
        raise ParameterError(f"sampler: saw {sampler!r}; expected one of {', '.join(SAMPLERS)}")
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise ParameterError(f"modes: saw {list(modes)}; expected some of {', '.join(MODES)}")
    if scheduler and workers:
        raise ParameterError(
            f"--workers {workers} is for a local cluster; start the workers of {scheduler} on the "
            "cluster itself"
        )


class _DaskPool:
    """The workers of a cluster as a :class:`leankeras.searching.rounds.Pool`."""

    def __init__(self, client: Client, shared: Callable[[], Materials]) -> None:
        self.client, self.shared = client, shared

    def each(
        self, task: Callable, items: Sequence[tuple], goes_on: Callable[[], bool]
    ) -> Iterator[tuple[int, Any, float]]:
        waiting = list(enumerate(items))[::-1]
        positions: dict[str, int] = {}
        running = as_completed(loop=self.client.loop)

        def start() -> None:
            position, item = waiting.pop()
            future = self.client.submit(_work, self.shared, task, *item, pure=False)
            positions[future.key] = position
            running.add(future)

        for _ in range(min(len(waiting), len(self.client.nthreads()))):
            if goes_on():
                start()
        for future in running:
            position, begun = positions[future.key], time.monotonic()
            outcome = outcome_of(future)
            if isinstance(outcome, Exception):
                yield position, outcome, time.monotonic() - begun
            else:
                yield position, *outcome
            if waiting and goes_on():
                start()

    def alone(self, task: Callable, *arguments: Any) -> Any:
        worker = sorted(self.client.nthreads())[0]
        result, _ = self.client.submit(
            _work,
            self.shared,
            task,
            *arguments,
            workers=[worker],
            allow_other_workers=True,  # in case this one is lost
            pure=False,
        ).result()
        return result


def _work(shared: Callable[[], Materials], task: Callable, *arguments: Any) -> tuple[Any, float]:
    """What a worker does: a task on what all trials share, and the seconds it took."""
    materials, started = shared(), time.monotonic()
    return task(materials, *arguments), time.monotonic() - started


@lru_cache(maxsize=1)
def _stage(folder: Path, again: str) -> Stage:
    given = json.loads(again)
    if given["quick"]:
        measure_briefly()
    return view_stage("03_prune", given["case"], folder / "run", given)


@lru_cache(maxsize=1)
def _materials(folder: Path, again: str) -> Materials:
    stage = _stage(folder, again)
    teacher = folder / "teacher.keras"
    model = stage.load("02_rewrite")
    return Materials(
        model=model,
        teacher=load_keras(teacher) if teacher.exists() else model,
        data=stage.data,
        slow=stage.file(STAGES[0]),
        seed=json.loads(again)["seed"],
    )


def _prepare(
    client: Client, folder: Path, again: dict[str, Any], modes: tuple[str, ...], budget: Budget
) -> Space:
    """What all trials share, computed once: stages 01 and 02, the teacher, the space."""
    text, path = json.dumps(again), folder / "space.json"
    client.submit(_first_stages, folder, text, pure=False).result()
    futures = [client.submit(_teacher, folder, text, pure=False)]
    if not path.exists():
        futures.append(client.submit(_space, folder, text, modes, budget, pure=False))
    for future in futures:
        future.result()
    return Space.from_json(path.read_text(encoding="utf-8"))


def _first_stages(folder: Path, again: str) -> None:
    run = Workspace(folder / "run")
    run_chain(run, json.loads(again), STAGES[:2], resume=True, say=lambda line: None)


def _teacher(folder: Path, again: str) -> None:
    """Train the case's teacher, as 04 does, if it has one."""
    stage, path = _stage(folder, again), folder / "teacher.keras"
    if stage.case.build_teacher and not path.exists():
        keras.utils.set_random_seed(json.loads(again)["seed"])
        teacher = stage.case.build_teacher()
        fit(teacher, stage.data, stage.case_epochs("profile"))
        write_atomically(path, teacher.save, WorkspaceError)


def _space(folder: Path, again: str, modes: tuple[str, ...], budget: Budget) -> None:
    stage = _stage(folder, again)
    epochs = {name: getattr(stage.all_epochs, name) for name in ("prune", "distil", "qat")}
    model = stage.load("02_rewrite")
    materials = Materials(model, model, stage.data, stage.file(STAGES[0]), 0)
    space = find_space(materials, epochs, modes, budget)
    write_text(folder / "space.json", space.to_json(), WorkspaceError)


def _search(
    trials: Trials,
    pool: _DaskPool,
    folder: Path,
    clock: Clock,
    most: int,
    again: dict[str, Any],
    budget: str | None,
) -> Search:
    """Search, measure the finalists, and keep what was found."""
    files = folder.resolve() / "trials"
    files.mkdir(exist_ok=True)
    progress = Progress(trials.goal, clock, most, trials.outcomes(told=False))
    for note in (f"dashboard: {pool.client.dashboard_link}", *trials.space.notes):
        progress.say(note)
    reference = folder.resolve() / "run" / "models" / f"{STAGES[1]}.tflite"
    try:
        in_rounds(trials, pool, files, reference, clock, most, progress.trial)
        numbers = trials.goal.finalists(trials.outcomes())
        if not numbers:
            raise ParameterError(
                "no trial was trained in full; give more --minutes, and continue with --resume"
            )
        progress.say(f"measuring {len(numbers)} finalists")
        named = {number: files / f"{number}.tflite" for number in numbers}
        winner = trials.goal.choose(pool.alone(finalists, named))
        front, conditions = pool.alone(judged, named, files / "0.tflite")
    finally:
        progress.close()
    chain, place = trials.candidate(winner), folder / "winner.json"
    write_text(place, chain.to_json(), WorkspaceError)
    write_atomically(folder / "winner.tflite", partial(copy, named[winner]), WorkspaceError)
    outcomes = trials.outcomes()
    found = Search(
        best=front.loc[winner],
        chain=chain,
        file=folder / "winner.tflite",
        table=trials_table(trials),
        front=front,
        sieves=sieves_table(outcomes),
        goal=trials.goal,
        missed=what_is_missed(trials.goal, outcomes[winner]),
        notes=trials.space.notes,
        command=_command(place.resolve(), folder, again, budget),
        report=folder / "report.html",
    )
    write_atomically(folder / "search.csv", found.table.to_csv, WorkspaceError)
    write_atomically(folder / "front.csv", found.front.to_csv, WorkspaceError)
    write_search_page(found, figures(trials), conditions, found.report)
    return found


def _command(chain: Path, folder: Path, again: dict[str, Any], budget: str | None) -> str:
    """The command that makes the winner's chain again, as the notebooks do."""
    named = {"chain": chain, "seed": again["seed"]}
    pairs = [word for name, value in named.items() for word in ("-p", name, str(value))]
    options = ["--quick"] * again["quick"]
    for name, value in (("task", again.get("task")), ("budget", budget)):
        options += [f"--{name}", value] if value else []
    where = ["--run-dir", str(folder / "again")]
    return shlex.join(["kopt", "run", again["case"], *pairs, *options, *where])
