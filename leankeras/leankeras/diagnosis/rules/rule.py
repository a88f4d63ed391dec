"""The definition of a rule: everything the diagnosis knows about one fault, in one row."""

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
        name: the rule's name.
        severity: "error", "warning" or "info" if running the layer adds nothing; for a fault that
            only shows when the layer runs, its severity.
        summary: what it looks for.
        why: why that matters for deployment.
        fix: what to do, with a pattern to follow.
        example: code that breaks the rule.
        reads: finds it in the source of a class; None for a fault that only shows at run time.
        over: what a loop runs over, if this is a rule about loops.
        confirmed_by: the observed faults that this rule explains, each with a pattern that must
            occur in the fault's message. A confirmed finding is an error, unless the fault itself
            is not.
        withdrawn: whether a trial shows that a reading is not a fault.
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
    """Withdraws a reading if all of these trials were made and found nothing."""
    return lambda reading, trial: set(trials) <= trial.passed
