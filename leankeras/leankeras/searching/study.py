"""The trials of a search, kept by Optuna in a journal that survives a kill at any moment."""

import json
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from leankeras.errors import DataError
from leankeras.searching.candidate import Candidate
from leankeras.searching.cost import best_fit
from leankeras.searching.goal import Goal, Outcome
from leankeras.searching.space import Space

SAMPLERS = ("tpe", "nsga2", "random")
ROUND = 8  # trials asked for at a time; the candidates depend on it, so it depends on nothing
STUDY = "search"


class Trials:
    """The trials so far, in a journal file.

    Attributes:
        anchors: how many of the first trials are given rather than sampled; no sieve drops them.

    Args:
        path: the journal; it is created if it does not exist.
        goal: what the sampler is told.
        space: what it may choose.
        sampler: "tpe", "nsga2" or "random".
        seed: its seed. Each trial has its own, derived from this and its number, so that a search
            that was interrupted proposes what an uninterrupted one would have.

    Raises:
        DataError: the journal is damaged.
    """

    def __init__(self, path: Path, goal: Goal, space: Space, sampler: str, seed: int) -> None:
        self.goal, self.space, self.seed, self.sampler = goal, space, seed, sampler
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _mend(path)
        try:
            self.study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path))),
                study_name=STUDY,
                directions=["minimize"] * goal.directions,
                load_if_exists=True,
            )
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise DataError(
                f"{path}: a damaged journal ({error}); choose another --run-dir"
            ) from error
        anchors = space.anchors()
        self.anchors = len(anchors)
        for knobs, candidate in anchors[len(self._all()) :]:
            self.study.enqueue_trial(knobs, user_attrs={"candidate": candidate.to_json()})

    def __len__(self) -> int:
        """How many have been asked for."""
        return sum(trial.state != TrialState.WAITING for trial in self._all())

    def begin_round(self, most: int) -> list[FrozenTrial]:
        """The trials of the current round: those left unfinished, and new ones up to its size.

        Args:
            most: how many there may be in the whole search.
        """
        asked = len(self)
        open_ones = [t for t in self._all() if t.state == TrialState.RUNNING]
        start = open_ones[0].number if open_ones else asked
        end = min(most, (start // ROUND + 1) * ROUND)
        for number in range(asked, end):
            self.study.sampler = self._sampler(number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                trial = self.study.ask(self.space.distributions())
            if "candidate" not in trial.user_attrs:
                text = self.space.candidate(trial.params).to_json()
                trial.set_user_attr("candidate", text)
        for trial in (t for t in self._all() if t.state == TrialState.RUNNING):
            if "candidate" not in trial.user_attrs:  # killed before it was known
                self.study.tell(trial.number, state=TrialState.FAIL)
        return [t for t in self._all() if t.state == TrialState.RUNNING and t.number < end]

    def note(self, number: int, figures: Outcome) -> None:
        """Keep what has been found out about a trial so far."""
        merged = {**self.outcome(number), **figures}
        self._open(number).set_user_attr("outcome", merged)

    def end_round(self, numbers: list[int]) -> None:
        """Tell the sampler about finished trials, in the order in which they were asked."""
        for number in sorted(numbers):
            outcome = self.outcome(number)
            if outcome.get("dropped") == "failed":
                self.study.tell(number, state=TrialState.FAIL)
                continue
            trial = self._open(number)
            for name, value in self.goal.constraints(outcome).items():
                if name not in trial.constraints:
                    trial.set_constraint(name, value)
            self.study.tell(number, self.goal.values(outcome))

    def processor(self, costs: list[list[float]], us: list[float]) -> int:
        """Which estimates agree with measured latencies; decided once for the whole search."""
        if "processor" not in self.study.user_attrs:
            self.study.set_user_attr("processor", best_fit(costs, us))
        return self.study.user_attrs["processor"]

    def candidate(self, number: int) -> Candidate:
        """The chain of a trial."""
        return Candidate.from_json(self._all()[number].user_attrs["candidate"])

    def outcome(self, number: int) -> Outcome:
        """What is known about a trial."""
        return self._all()[number].user_attrs.get("outcome", {})

    def outcomes(self, told: bool = True) -> dict[int, Outcome]:
        """What is known about all trials, or all that the sampler was told of, by number."""
        states = (TrialState.COMPLETE, TrialState.FAIL)
        return {
            trial.number: trial.user_attrs.get("outcome", {})
            for trial in self._all()
            if trial.state in states or not told
        }

    def _open(self, number: int) -> optuna.trial.Trial:
        return optuna.trial.Trial(self.study, self._all()[number]._trial_id)

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _sampler(self, number: int) -> BaseSampler:
        seed = (self.seed * 1_000_003 + number) % 2**32
        made: dict[str, Any] = {
            "tpe": lambda: TPESampler(seed=seed, multivariate=True),
            "nsga2": lambda: NSGAIISampler(seed=seed, population_size=2 * ROUND),
            "random": lambda: RandomSampler(seed=seed),
        }
        return made[self.sampler]()


def _mend(path: Path) -> None:
    """Remove what a killed process left: a line cut short, and Optuna's own lock.

    The caller holds a lock that the system releases with its process.
    """
    Path(f"{path}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    for line in whole.splitlines():
        try:
            json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{path}: a damaged journal ({error}); choose another --run-dir"
            ) from error
