"""What a search has found."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from leankeras.searching.candidate import Candidate
from leankeras.searching.goal import Goal, Outcome
from leankeras.searching.study import Trials

FIGURES = (
    *("size_kb", "us", "us_low", "us_high", "ratio", "ratio_low", "ratio_high"),
    *("short_lost", "score", "lost", "lost_low", "lost_high", "dropped", "reason"),
)
SIEVES = {
    "converted untrained, timed": ("us", ("untrained_seconds", "timed_seconds")),
    "trained briefly": ("short_seconds", ("short_seconds",)),
    "trained in full": ("full_seconds", ("full_seconds",)),
}


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
        best: the winner's row of ``front``; its name is the number of its trial.
        chain: how the winner is made.
        file: the winner's ``.tflite``.
        table: a row for each trial, by number: the chain in words, what was measured on the
            validation part (losses are fractions against the slow model, latencies relative to the
            rewritten model in float32), why it was dropped, and the seconds it took.
        front: the finalists on the test part: as :func:`leankeras.runtime.compare_files` gives
            them against the slow model, and ``against_default``, ``against_default_low`` and
            ``against_default_high``, the ratio of latencies to the default chain's file, and
            ``lost_to_default`` with its interval.
        sieves: for each sieve how many trials came, how many it dropped and why, and the seconds.
        missed: what stands in the way, if no trial is within the budget; else "".
        notes: what was not searched, and why.
        command: the command that makes the winner again.
        report: the page.
    """

    best: pd.Series
    chain: Candidate
    file: Path
    table: pd.DataFrame = field(repr=False)
    front: pd.DataFrame = field(repr=False)
    sieves: pd.DataFrame = field(repr=False)
    goal: Goal
    missed: str = ""
    notes: tuple[str, ...] = ()
    command: str = ""
    report: Path | None = None

    def __str__(self) -> str:
        lines = [
            self.sieves.to_string(),
            "",
            finalists_in_words(self.front, self.goal).to_string(),
            "",
            *self.notes,
            f"winner: trial {self.best.name}: {self.chain}",
            self.verdict,
            f"file: {self.file}",
            f"make it again: {self.command}",
        ]
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def verdict(self) -> str:
        """What the winner reached on the test part, and whether it is enough."""
        row, merit = self.best, self.goal.merit
        states = self.goal.budget.verdicts(row.to_dict(), merit)
        open_points = [f"{name} {state}" for name, state in states.items() if state != "met"]
        default = (
            f"{1 / row.against_default:.3g}× [{1 / row.against_default_high:.3g}, "
            f"{1 / row.against_default_low:.3g}]"
        )
        return (
            f"{1 / row.ratio:.3g}× [{1 / row.ratio_high:.3g}, {1 / row.ratio_low:.3g}] the speed "
            f"of the slow model and {default} that of the default chain, {row.us:.3g} µs, "
            f"{row.size_kb:.3g} kB, {merit.in_words(row[merit.name])} on the test part "
            f"({merit.gain_in_words(row)}); budget: "
            f"{', '.join(open_points) or 'met'}{f'. {self.missed}' if self.missed else ''}"
        )


def finalists_in_words(front: pd.DataFrame, goal: Goal) -> pd.DataFrame:
    """The finalists for people, with their units."""
    merit = goal.merit

    def interval(row: pd.Series, names: tuple[str, str, str], scale: float = 1) -> str:
        value, low, high = (scale * row[name] for name in names)
        return f"{value:.3g} [{low:.3g}, {high:.3g}]"

    def times(row: pd.Series, name: str) -> str:
        value, low, high = (1 / row[each] for each in (name, f"{name}_high", f"{name}_low"))
        return f"{value:.3g} [{low:.3g}, {high:.3g}]"

    lost = merit.columns[1]
    rows = {
        f"trial {number}": {
            merit.axis: f"{merit.shown(row[merit.name]):.3g}",
            f"{merit.unit} lost": interval(row, (lost, "lost_low", "lost_high"), 100),
            "lost to default": interval(
                row, ("lost_to_default", "lost_to_default_low", "lost_to_default_high"), 100
            ),
            "kB": f"{row.size_kb:.3g}",
            "µs": f"{row.us:.3g}",
            "times faster": times(row, "ratio"),
            "than the default chain": times(row, "against_default"),
        }
        for number, row in front.iterrows()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def trials_table(trials: Trials) -> pd.DataFrame:
    """A row for each trial; see :class:`Search`."""
    outcomes = trials.outcomes(told=False)
    numbers = [number for number, outcome in outcomes.items() if outcome]
    rows = [{name: outcomes[n].get(name) for name in FIGURES} for n in numbers]
    table = pd.DataFrame(rows, index=pd.Index(numbers, name="trial"), columns=list(FIGURES))
    table = table.fillna({"dropped": "", "reason": ""})
    table.insert(0, "chain", [str(trials.candidate(number)) for number in numbers])
    table["seconds"] = [_seconds(outcomes[number]) for number in numbers]
    return table


def _seconds(outcome: Outcome) -> float:
    """What a trial has cost so far."""
    kinds = [kind for _, names in SIEVES.values() for kind in names]
    return sum(outcome.get(kind, 0.0) for kind in kinds)


def sieves_table(outcomes: dict[int, Outcome]) -> pd.DataFrame:
    """What each sieve was given, dropped and cost."""
    places = {
        "too large": 0, "too slow": 0, "slower than the best": 0, "larger than the best": 0,
        "tried before": 0, "loses too much": 1, "loses more than the best": 1,
        "beaten in everything": 1,
    }  # fmt: skip
    rows = {}
    for place, (name, (mark, seconds)) in enumerate(SIEVES.items()):
        given = [each for each in outcomes.values() if mark in each or _failed_at(each, place)]
        dropped: dict[str, int] = {}
        for each in outcomes.values():
            why = each.get("dropped")
            if why and (places.get(why) == place or _failed_at(each, place)):
                dropped[why] = dropped.get(why, 0) + 1
        rows[name] = {
            "trials": len(given),
            "dropped": sum(dropped.values()),
            "why": ", ".join(f"{count} {why}" for why, count in dropped.items()),
            "seconds": round(
                sum(each.get(kind, 0.0) for each in outcomes.values() for kind in seconds), 1
            ),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("sieve")


def _failed_at(outcome: Outcome, place: int) -> bool:
    """Whether a trial failed in the work of a sieve."""
    if outcome.get("dropped") != "failed":
        return False
    reached = [place for place, (_, kinds) in enumerate(SIEVES.values()) if kinds[0] in outcome]
    return place == (max(reached) if reached else 0)


def what_is_missed(goal: Goal, outcome: Outcome) -> str:
    """What stands between the nearest trial and the budget; "" if nothing does."""
    broken = goal.broken(outcome)
    limits = {
        "latency": f"{goal.budget.latency_us or 0:.3g} µs",
        "size": f"{goal.budget.size_kb or 0:.3g} kB",
        goal.merit.name: f"{100 * goal.may_lose:.3g} {goal.merit.unit}",
    }
    shown = {
        "latency": f"{outcome['us']:.3g} µs",
        "size": f"{outcome['size_kb']:.3g} kB",
        goal.merit.name: f"{100 * outcome['lost']:.3g} {goal.merit.unit}",
    }
    words = {"latency": "latency", "size": "size", goal.merit.name: "loss on the validation part"}
    parts = [f"its {words[name]} is {shown[name]}, above {limits[name]}" for name in broken]
    return (
        f"No trial is within the budget; this is the nearest: {' and '.join(parts)}"
        if parts
        else ""
    )
