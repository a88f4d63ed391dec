"""What a rule is: all that the diagnosis knows about one fault, in one row."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from leankeras.diagnosis.source import LayerSource, Reading
from leankeras.diagnosis.trial import Trial

Reader = Callable[[LayerSource], Iterator[Reading]]
Withdrawal = Callable[[Reading, Trial], bool]


@dataclass(frozen=True)
class Rule:
    """One rule: a row of the table in ``docs/diagnosis.md``, and how its fault is found.

    Args:
        name: of the rule.
        severity: "error", "warning" or "info" where trying the layer says nothing more; for a
            fault that only trying shows, its severity.
        summary: what it looks for.
        why: why that matters for deployment.
        fix: what to do, with a pattern to follow.
        example: code that the rule is about.
        reads: finds it in the source of a class; none for a fault that only trying shows.
        over: what a loop runs over, where this is a rule about loops.
        confirmed_by: the faults that trying shows and this explains, each with a pattern that
            the fault's message must hold. A finding that is confirmed is an error, unless the
            fault itself is none.
        withdrawn: whether trying the layer shows that a reading is no fault.
    """

    name: str
    severity: str
    summary: str
    why: str
    fix: str
    example: str
    reads: Reader | None = None
    over: str = ""
    confirmed_by: Mapping[str, str] = field(default_factory=dict)
    withdrawn: Withdrawal | None = None


def passed(*trials: str) -> Withdrawal:
    """Withdraws a reading where all of these trials were made and found nothing."""
    return lambda reading, trial: set(trials) <= trial.passed
