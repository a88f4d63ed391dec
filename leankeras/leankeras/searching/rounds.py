"""The search itself: rounds of candidates, each through sieves from the cheapest to the dearest.

A round asks the sampler for a few candidates. Their architectures are converted untrained and
timed one after another while nothing else runs; what is left is trained briefly, and what is then
left in full. The latency of a file does not depend on its weights, so it is measured once.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from pathlib import Path
from typing import Any, Protocol

from leankeras.errors import one_line
from leankeras.searching import chain
from leankeras.searching.goal import FINALISTS, Goal, Outcome
from leankeras.searching.study import Trials

Finished = tuple[int, Any, float]
LATENCY = ("us", "us_low", "us_high", "ratio", "ratio_low", "ratio_high")
REMEMBERED = 20  # durations of each kind


class Pool(Protocol):
    """Whoever does the work of trials."""

    def each(
        self, task: Callable, items: Sequence[tuple], goes_on: Callable[[], bool]
    ) -> Iterator[Finished]:
        """Run a task on every item, as many at a time as there are workers.

        Yields:
            The position of an item, the result or the exception, and the seconds it took, as they
            finish. No more are started once ``goes_on`` says no.
        """

    def alone(self, task: Callable, *arguments: Any) -> Any:
        """Run a task while nothing else runs."""


class ThisProcess:
    """A :class:`Pool` of this process alone.

    Args:
        materials: what tasks are given first.
    """

    def __init__(self, materials: Any) -> None:
        self._materials = materials

    def each(
        self, task: Callable, items: Sequence[tuple], goes_on: Callable[[], bool]
    ) -> Iterator[Finished]:
        """See :class:`Pool`."""
        for position, item in enumerate(items):
            if not goes_on():
                return
            started = time.monotonic()
            try:
                result: Any = task(self._materials, *item)
            except Exception as error:  # as a worker would, it costs the trial only
                result = error
            yield position, result, time.monotonic() - started

    def alone(self, task: Callable, *arguments: Any) -> Any:
        """See :class:`Pool`."""
        return task(self._materials, *arguments)


@dataclass(frozen=True)
class Tasks:
    """What is done with a candidate; see :mod:`leankeras.searching.chain`."""

    untrained: Callable = chain.untrained
    timed: Callable = chain.timed
    short: Callable = chain.short_training
    full: Callable = chain.full_training


@dataclass
class Clock:
    """What is left of the time.

    Args:
        seconds: how long the search may take; None for as long as there are trials to do.
        started: the time it began, as :func:`time.monotonic` gives it.
    """

    seconds: float | None
    started: float = field(default_factory=time.monotonic)
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def reserve(self) -> float:
        """About how many seconds the measurement of the finalists will take, and the page."""
        timed, scored = (max(self.took[kind], default=0.0) for kind in ("timed", "scoring"))
        return 3 * timed + FINALISTS * scored

    @property
    def left(self) -> float:
        """Seconds left to search in."""
        if self.seconds is None:
            return inf
        return self.seconds - self.reserve - (time.monotonic() - self.started)

    def note(self, kind: str, seconds: float) -> None:
        """Remember how long something took."""
        self.took[kind].append(seconds)

    def has_time_for(self, *kinds: str) -> bool:
        """Whether there is time for one of each, as long as the longest of the last took."""
        known = {kind: max(times[-REMEMBERED:]) for kind, times in self.took.items() if times}
        known.setdefault("full", chain.SHORT * known.get("short", 0.0))
        return self.left > sum(known.get(kind, 0.0) for kind in kinds)


def in_rounds(
    trials: Trials,
    pool: Pool,
    folder: Path,
    reference: Path,
    clock: Clock,
    most: int,
    say: Callable[[int, Outcome], None] = lambda number, outcome: None,
    tasks: Tasks | None = None,
) -> None:
    """Search until the trials or the time are used up.

    Args:
        trials: the trials so far.
        pool: who does the work.
        folder: where the files of trials are kept, seen by all workers.
        reference: a file of the model that latencies are relative to.
        clock: the time that is left.
        most: how many trials there may be in all.
        say: told of each trial whenever something is found out about it.
        tasks: what is done with a candidate.
    """
    work = _Round(trials, pool, folder, reference, clock, say, tasks or Tasks())
    while clock.has_time_for("untrained", "timed", "short", "full"):
        numbers = [trial.number for trial in trials.begin_round(most)]
        if not numbers:
            return
        work.run(numbers)


class _Round:
    def __init__(
        self,
        trials: Trials,
        pool: Pool,
        folder: Path,
        reference: Path,
        clock: Clock,
        say: Callable[[int, Outcome], None],
        tasks: Tasks,
    ) -> None:
        self.trials, self.pool, self.folder, self.clock = trials, pool, folder, clock
        self.reference, self.say, self.tasks = reference, say, tasks
        self.goal: Goal = trials.goal
        self.known: dict[str, Outcome] = {}  # figures by architecture
        self.seen: dict[str, int] = {}
        for number, outcome in trials.outcomes().items():
            self._remember(number, outcome)

    def run(self, numbers: list[int]) -> None:
        done = [each for each in self.trials.outcomes().values() if "cost" in each]
        self._measure([n for n in numbers if "us" not in self._outcome(n)])
        self._sieve(numbers, "us", lambda outcome: self.goal.drop_untrained(outcome, done))
        self._train("short", [n for n in self._alive(numbers) if self._needs_short(n)])
        self._sieve(numbers, "short_lost", lambda outcome: self.goal.drop_short(outcome, done))
        self._train("full", [n for n in self._alive(numbers) if "lost" not in self._outcome(n)])
        self._repeat(numbers)
        finished = [n for n in numbers if self._is_finished(self._outcome(n))]
        self.trials.end_round(finished)
        for number in finished:
            self._remember(number, self._outcome(number))
        self._keep_files()

    def _keep_files(self) -> None:
        """Remove the files of trials that others have beaten; they cannot come back."""
        given = range(self.trials.anchors)
        kept = {*given, *self.goal.finalists(self.trials.outcomes())}
        for file in self.folder.glob("*.tflite"):
            if file.stem.isdigit() and int(file.stem) not in kept:
                file.unlink()

    def _measure(self, numbers: list[int]) -> None:
        """Size, estimate and latency of architectures that are not known yet."""
        new: dict[str, int] = {}
        for number in numbers:
            new.setdefault(self.trials.candidate(number).architecture, number)
        new = {text: number for text, number in new.items() if text not in self.known}
        files = {number: self.folder / f"untrained-{number}.tflite" for number in new.values()}
        self._each("untrained", list(new.values()), files)
        made = {text: number for text, number in new.items() if "costs" in self._outcome(number)}
        if made:
            started = time.monotonic()
            named = {"reference": self.reference} | {str(n): files[n] for n in made.values()}
            table = self.pool.alone(self.tasks.timed, named)
            seconds = time.monotonic() - started
            self.clock.note("timed", seconds)
            costs = {number: self._outcome(number)["costs"] for number in made.values()}
            us = [float(table.us[str(number)]) for number in costs]
            processor = self.trials.processor(list(costs.values()), us)
            for text, number in made.items():
                latency = {name: float(table.loc[str(number), name]) for name in LATENCY}
                known = {"cost": costs[number][processor], "timed_seconds": seconds / len(made)}
                self._note(number, latency | known)
                self.known[text] = self._architecture(self._outcome(number))
        for file in files.values():
            file.unlink(missing_ok=True)
        for number in numbers:
            text = self.trials.candidate(number).architecture
            if text in self.known and "us" not in self._outcome(number):
                self._note(number, self.known[text])
            elif text in new and number != new[text] and "reason" in self._outcome(new[text]):
                reason = self._outcome(new[text])["reason"]
                self._note(number, {"dropped": "failed", "reason": reason})

    def _sieve(self, numbers: list[int], needs: str, reason: Callable[[Outcome], str]) -> None:
        for number in numbers:
            outcome = self._outcome(number)
            if "dropped" in outcome or "lost" in outcome or needs not in outcome:
                continue
            twin = self.seen.setdefault(self._key(number), number)
            if twin != number:
                self._note(number, {"dropped": "tried before", "twin": twin})
            elif number >= self.trials.anchors and (why := reason(outcome)):
                self._note(number, {"dropped": why})

    def _repeat(self, numbers: list[int]) -> None:
        """Give trials whose chain has been tried before what became of it."""
        for number in numbers:
            if "twin" in self._outcome(number):
                again = self._outcome(self._outcome(number)["twin"])
                names = ("lost", "short_lost", "dropped", "reason")
                self._note(number, {name: again[name] for name in names if name in again})

    def _train(self, kind: str, numbers: list[int]) -> None:
        files = {number: self.folder / f"{number}.tflite" for number in numbers}
        self._each(kind, numbers, files)

    def _each(self, kind: str, numbers: list[int], files: dict[int, Path]) -> None:
        """Have the workers do one thing for several trials, and note what comes of it."""
        items = [(self.trials.candidate(number), files[number]) for number in numbers]
        task = getattr(self.tasks, kind)
        for position, result, seconds in self.pool.each(
            task, items, lambda: self.clock.has_time_for(kind)
        ):
            self.clock.note(kind, seconds)
            if isinstance(result, Exception):
                result = {"dropped": "failed", "reason": one_line(result)}
            elif isnan(result.get("lost", 0.0)):
                result = {"dropped": "failed", "reason": "its score is not a number"}
            if "scoring_seconds" in result:
                self.clock.note("scoring", result["scoring_seconds"])
            self._note(numbers[position], {**result, f"{kind}_seconds": seconds})

    def _needs_short(self, number: int) -> bool:
        """Whether a short training would tell anything: of a chain that removes channels."""
        outcome = self._outcome(number)
        shares = self.trials.candidate(number).shares
        return bool(shares) and "short_lost" not in outcome and "lost" not in outcome

    def _alive(self, numbers: list[int]) -> list[int]:
        return [
            n for n in numbers if "dropped" not in self._outcome(n) and "us" in self._outcome(n)
        ]

    def _is_finished(self, outcome: Outcome) -> bool:
        return "dropped" in outcome or "lost" in outcome

    def _remember(self, number: int, outcome: Outcome) -> None:
        if "us" in outcome:
            text = self.trials.candidate(number).architecture
            self.known[text] = self._architecture(outcome)
            self.seen.setdefault(self._key(number), number)

    def _architecture(self, outcome: Outcome) -> Outcome:
        return {name: outcome[name] for name in (*LATENCY, "cost", "size_kb")}

    def _key(self, number: int) -> str:
        return self.trials.candidate(number).to_json()

    def _outcome(self, number: int) -> Outcome:
        return self.trials.outcome(number)

    def _note(self, number: int, figures: Outcome) -> None:
        self.trials.note(number, figures)
        self.say(number, self._outcome(number))
