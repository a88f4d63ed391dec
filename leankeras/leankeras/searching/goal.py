"""What a search is after: which trials are dropped early, what the sampler learns, who wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Any

import numpy as np
import pandas as pd

from leankeras.budget import Budget
from leankeras.errors import ParameterError
from leankeras.runtime import pareto_front, pick_fastest
from leankeras.task import Merit

GOALS = ("fastest", "smallest", "accurate", "front")
# A candidate is not trained if its estimate is this far above the best; the estimate is rough.
MARGIN = 1.25
FINALISTS = 8
UNKNOWN = 1.0  # the loss assumed of what was never trained
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A goal within a budget.

    Args:
        name: "fastest" and "smallest" keep the accuracy; "accurate" keeps latency and size;
            "front" looks for the best trade-offs between all three.
        budget: the limits.
        merit: what the task is judged by.

    Raises:
        ParameterError: an unknown goal, or a budget that leaves it without a limit.
    """

    name: str
    budget: Budget
    merit: Merit

    def __post_init__(self) -> None:
        check_goal(self.name, self.budget)
        self.budget.may_lose(self.merit)

    @property
    def may_lose(self) -> float:
        """How much of the score may be lost; infinite without a limit."""
        limit = self.budget.may_lose(self.merit)
        return inf if limit is None else limit

    @property
    def directions(self) -> int:
        """How many values a trial is told with."""
        return 3 if self.name == "front" else 1

    def drop_untrained(self, outcome: Outcome, done: Sequence[Outcome]) -> str:
        """Why an architecture need not be trained; "" if it is to be.

        Latency is measured; whether it can beat the best is decided by the estimate, so that the
        candidates stay the same from one search to the next.

        Args:
            outcome: with ``size_kb``, ``cost`` and ``us_low``.
            done: the trials of earlier rounds.
        """
        size, latency = self.budget.size_kb, self.budget.latency_us
        if size is not None and outcome["size_kb"] > size:
            return "too large"
        if latency is not None and outcome["us_low"] > latency:
            return "too slow"
        best = min((self._rank(each) for each in done if self.is_within(each)), default=inf)
        if self.name == "fastest" and outcome["cost"] > MARGIN * best:
            return "slower than the best"
        if self.name == "smallest" and outcome["size_kb"] >= best:
            return "larger than the best"
        return ""

    def drop_short(self, outcome: Outcome, done: Sequence[Outcome]) -> str:
        """Why a candidate need not be trained in full; "" if it is to be.

        A full training wins back some of the loss after a short one. No trial so far has won back
        more than a certain gain; what would be out of reach even with that gain is dropped.

        Args:
            outcome: with ``short_lost`` and ``cost``.
            done: the trials of earlier rounds.
        """
        gains = [each["short_lost"] - each["lost"] for each in _trained(done)]
        if not gains:
            return ""
        hope = outcome["short_lost"] - max(0.0, *gains)
        if hope > self.may_lose:
            return "loses too much"
        within = [each for each in _trained(done) if self.is_within(each)]
        if self.name == "accurate" and hope > min((e["lost"] for e in within), default=inf):
            return "loses more than the best"
        optimistic = {**outcome, "lost": hope}
        if self.name == "front" and any(_beats(each, optimistic) for each in within):
            return "beaten in everything"
        return ""

    def values(self, outcome: Outcome) -> list[float]:
        """What the sampler is to make small; none of it depends on a clock."""
        lost = outcome.get("lost", outcome.get("short_lost", UNKNOWN))
        cost, size = log(outcome["cost"]), outcome["size_kb"]
        wanted = {"fastest": [cost], "smallest": [size], "accurate": [lost]}
        return wanted.get(self.name, [lost, cost, size])

    def constraints(self, outcome: Outcome) -> dict[str, float]:
        """What keeps a trial from being feasible: above 0 for each limit that is broken."""
        told = {"latency": 1.0 if outcome.get("dropped") == "too slow" else 0.0}
        if self.budget.size_kb is not None:
            told["size"] = outcome["size_kb"] / self.budget.size_kb - 1
        if self.may_lose < inf:
            lost = outcome.get("lost", outcome.get("short_lost"))
            told["score"] = 0.0 if lost is None else lost - self.may_lose
        return told

    def is_within(self, outcome: Outcome) -> bool:
        """Whether a trial was trained in full and keeps the budget, as far as can be told."""
        return "lost" in outcome and not self.broken(outcome)

    def broken(self, outcome: Outcome) -> dict[str, float]:
        """The limits that a trained trial breaks: each with the figure that breaks it."""
        limits = {
            "latency": (self.budget.latency_us, outcome["us_low"], outcome["us"]),
            "size": (self.budget.size_kb, outcome["size_kb"], outcome["size_kb"]),
            self.merit.name: (self.may_lose, outcome["lost"], outcome["lost"]),
        }
        return {
            name: shown
            for name, (limit, held, shown) in limits.items()
            if limit is not None and held > limit
        }

    def finalists(self, outcomes: dict[int, Outcome]) -> list[int]:
        """The trials to be measured side by side, the best first.

        Those within the budget, up to a number; where there are none, the nearest to it.
        """
        trained = {
            number: each
            for number, each in outcomes.items()
            if "lost" in each and "dropped" not in each
        }
        within = [number for number, each in trained.items() if self.is_within(each)]
        if self.name == "front" and trained:
            among = within or list(trained)
            costs = pd.DataFrame(
                [[trained[n][k] for k in ("lost", "ratio", "size_kb")] for n in among], index=among
            )
            within = costs.index[pareto_front(costs)].tolist()
        if within:
            return sorted(within, key=lambda n: (self._measured(trained[n]), n))[:FINALISTS]
        return sorted(trained, key=lambda n: (self._excess(trained[n]), n))[:1]

    def choose(self, table: pd.DataFrame) -> Any:
        """The winner among finalists.

        Args:
            table: as :func:`leankeras.runtime.compare_files` gives it, validation part.
        """
        lost = self.merit.columns[1]
        if self.name == "smallest":
            return table.sort_values(["size_kb", "ratio"]).index[0]
        if self.name == "accurate":
            return table.sort_values([lost, "ratio"]).index[0]
        sizes = {name: (row.size_kb, row[lost]) for name, row in table.iterrows()}
        return pick_fastest(table, sizes)

    def _rank(self, outcome: Outcome) -> float:
        """What the goal makes small, as it is known without a clock."""
        return outcome["size_kb"] if self.name == "smallest" else outcome["cost"]

    def _measured(self, outcome: Outcome) -> float:
        figures = {"smallest": "size_kb", "accurate": "lost"}
        return outcome[figures.get(self.name, "ratio")]

    def _excess(self, outcome: Outcome) -> float:
        """By how much a trial breaks the budget, each limit relative to itself (points as such)."""
        limits = {"latency": self.budget.latency_us, "size": self.budget.size_kb}
        return sum(
            figure / limits[name] - 1 if name in limits else 10 * (figure - self.may_lose)
            for name, figure in self.broken(outcome).items()
        )


def check_goal(name: str, budget: Budget) -> None:
    """Refuse an unknown goal, or a budget that leaves it without a limit.

    Raises:
        ParameterError: says which limit is missing.
    """
    if name not in GOALS:
        raise ParameterError(f"goal: saw {name!r}; expected one of {', '.join(GOALS)}")
    keeps_score = budget.accuracy_loss is not None or budget.error_growth is not None
    if name in ("fastest", "smallest") and not keeps_score:
        raise ParameterError(
            f"budget: saw {budget}; the {name} file would be one that knows nothing, so say what "
            'may be lost, as in "0.5 points" or "3 %"'
        )
    if name == "accurate" and budget.latency_us is None and budget.size_kb is None:
        raise ParameterError(
            f"budget: saw {budget}; the most accurate file would be the model as it came, so limit "
            'latency or size, as in "2 ms" or "50 kB"'
        )


def _trained(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if "lost" in each and "short_lost" in each]


def _beats(one: Outcome, other: Outcome) -> bool:
    """Whether one is at least as good in everything and better in something."""
    pairs = np.array([[one[name], other[name]] for name in ("lost", "cost", "size_kb")])
    return bool((pairs[:, 0] <= pairs[:, 1]).all() and (pairs[:, 0] < pairs[:, 1]).any())
