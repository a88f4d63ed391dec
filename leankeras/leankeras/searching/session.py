"""A search from its settings to what it has found, once its case is prepared."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from leankeras.budget import Budget
from leankeras.data import Data
from leankeras.errors import ParameterError
from leankeras.files import copy, write_atomically, write_text
from leankeras.modes import MODES
from leankeras.objective import find_objective
from leankeras.searching.chain import finalists, judged
from leankeras.searching.empty import check_reachable
from leankeras.searching.goal import Goal, check_goal
from leankeras.searching.outcome import Search, sieves_table, trials_table, what_is_missed
from leankeras.searching.progress import Progress
from leankeras.searching.rounds import Clock, Pool, Tasks, in_rounds
from leankeras.searching.space import SPACE_MODES, Space
from leankeras.searching.study import SAMPLERS, Trials

MINUTES = 30.0
LEAST_TRIALS = 3


@dataclass(frozen=True)
class Settings:
    """What to search for, how long, and how.

    Args:
        budget: the limits.
        goal: "fastest", "smallest", "accurate", or "front".
        minutes: how long to search, all included; 30 by default, if ``trials`` is not given.
        trials: how many chains to try.
        seed: of every random choice; the same seed and number of trials try the same chains.
        modes: the modes the file may have.
        sampler: "tpe", "nsga2", or "random".
        started: when the search began, as :func:`time.monotonic` gives it.

    Raises:
        ParameterError: one of them is unknown or out of range, or the goal lacks a limit.
    """

    budget: Budget
    goal: str = "fastest"
    minutes: float | None = None
    trials: int | None = None
    seed: int = 0
    modes: Sequence[str] = SPACE_MODES
    sampler: str = "tpe"
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise ParameterError(f"minutes: saw {self.minutes}; expected a number above 0")
        if self.trials is not None and self.trials < LEAST_TRIALS:
            raise ParameterError(
                f"trials: saw {self.trials}; expected at least {LEAST_TRIALS}: the default chain, "
                "and the model as it is in int8 and in float"
            )
        if self.sampler not in SAMPLERS:
            raise ParameterError(
                f"sampler: saw {self.sampler!r}; expected one of {', '.join(SAMPLERS)}"
            )
        if not self.modes or any(mode not in MODES for mode in self.modes):
            raise ParameterError(
                f"modes: saw {', '.join(self.modes) or 'none'}; expected some of {', '.join(MODES)}"
            )
        check_goal(self.goal, self.budget)

    @property
    def identity(self) -> dict[str, Any]:
        """What a search that is continued must have in common with its beginning."""
        names = ("goal", "seed", "sampler")
        same = {name: getattr(self, name) for name in names}
        return same | {"budget": str(self.budget), "modes": list(self.modes)}

    @property
    def clock(self) -> Clock:
        """The time there is."""
        minutes = MINUTES if self.minutes is None and self.trials is None else self.minutes
        return Clock(None if minutes is None else 60 * minutes, started=self.started)

    def aim(self, model: keras.Model, data: Data) -> Goal:
        """The goal for a model, if its budget is not beyond all models.

        Raises:
            DataError: the labels fit no task of the model.
            ParameterError: the budget limits another kind of score, or not even an empty model
                would keep it.
        """
        data = replace(data, task=find_objective(model, data).task)
        aim = Goal(self.goal, self.budget, data.task.score.merit)
        check_reachable(model, data, self.budget)
        return aim


def run_session(
    settings: Settings,
    aim: Goal,
    space: Space,
    pool: Pool,
    folder: Path,
    reference: Path,
    command: str,
    tasks: Tasks | None = None,
) -> tuple[Search, Trials, str]:
    """Search, measure the finalists on the test part, and keep what was found.

    Args:
        settings: how long and how.
        aim: the goal.
        space: what may be chosen.
        pool: who does the work.
        folder: where the journal, the files and the tables are kept; workers see it.
        reference: a file that latencies of trials are relative to.
        command: what makes ``winner.json`` in the folder again.
        tasks: what is done with a candidate.

    Returns:
        What was found, the trials, and the conditions of the final latencies in a line.

    Raises:
        ParameterError: there was no time for a single trial.
        DataError: the journal is damaged.
    """
    trials = Trials(folder / "journal.log", aim, space, settings.sampler, settings.seed)
    files = folder / "trials"
    files.mkdir(exist_ok=True)
    clock, most = settings.clock, settings.trials or sys.maxsize
    progress = Progress(aim, clock, most, trials.outcomes(told=False))
    for note in space.notes:
        progress.say(note)
    try:
        in_rounds(trials, pool, files, reference, clock, most, progress.trial, tasks)
        outcomes, table = trials.outcomes(), trials_table(trials)
        write_atomically(folder / "search.csv", table.to_csv)
        numbers, compared = aim.finalists(outcomes), _compared(trials, files)
        if not numbers or compared is None:
            raise ParameterError(
                "there was no time for a full training, or each one failed (search.csv says why); "
                "continue with --resume and more --minutes"
            )
        notes = space.notes
        if compared:
            reason = outcomes[0].get("reason", "no time")
            notes += (f"no default chain ({reason}): trial {compared} stands in for it",)
        progress.say(f"measuring {len(numbers)} of {len(outcomes)} trials on the test part")
        named = {number: files / f"{number}.tflite" for number in numbers}
        winner = aim.choose(pool.alone(finalists, named))
        front, conditions = pool.alone(judged, named, files / f"{compared}.tflite")
    finally:
        progress.close()
    chain, best = trials.candidate(winner), folder / "winner.tflite"
    write_text(folder / "winner.json", chain.to_json())
    write_atomically(best, partial(copy, named[winner]))
    found = Search(
        best=front.loc[winner],
        chain=chain,
        file=best,
        table=table,
        front=front,
        sieves=sieves_table(outcomes),
        goal=aim,
        missed=what_is_missed(aim, outcomes[winner]),
        notes=notes,
        command=command,
    )
    write_atomically(folder / "front.csv", found.front.to_csv)
    return found, trials, conditions


def _compared(trials: Trials, files: Path) -> int | None:
    """The trial that the others are compared with: the default chain, or what was given else."""
    given = (number for number in range(trials.anchors) if (files / f"{number}.tflite").exists())
    return next(given, None)
