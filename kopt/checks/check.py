"""What a check says about an answer, and the comparison most checks consist of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

RIGHT, NOT_YET, NOT_ANSWERED, NO_QUESTION = "right", "not yet", "not answered yet", "no question"

SLIPS = (
    (-1, "the sign is wrong"),
    (100, "a hundred times too large: is it in per cent?"),
    (1 / 100, "a hundred times too small: is it a fraction where a percentage is wanted?"),
    (1e3, "a thousand times too large: which unit is wanted?"),
    (1e-3, "a thousand times too small: which unit is wanted?"),
    (1e6, "a million times too large: which unit is wanted?"),
    (1e-6, "a million times too small: which unit is wanted?"),
)


@dataclass(frozen=True, repr=False)
class Check:
    """The verdict on an answer; prints as one line.

    Attributes:
        state: "right", "not yet", "not answered yet", or "no question" if this run gives nothing
            to ask about.
        message: why the answer is right, or a hint.
    """

    state: str
    message: str

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.state == RIGHT

    def __repr__(self) -> str:
        return f"{self.state}: {self.message}"


def right(message: str) -> Check:
    """The answer is right; the message says what it means."""
    return Check(RIGHT, message)


def not_yet(hint: str) -> Check:
    """The answer is not right; the hint helps without giving the answer away."""
    return Check(NOT_YET, hint)


def not_answered(task: str) -> Check:
    """There is no answer yet; the task says what to put in place of the dots."""
    return Check(NOT_ANSWERED, task)


def no_question(reason: str) -> Check:
    """This run gives nothing to ask about."""
    return Check(NO_QUESTION, reason)


def as_number(answer: Any) -> float | None:
    """A finite number as a float; None for anything else."""
    if isinstance(answer, bool) or not isinstance(answer, Real) or not math.isfinite(answer):
        return None
    return float(answer)


def as_numbers(answer: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Finite numbers of the given shape as an array of floats; None for anything else."""
    try:
        numbers = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == shape and np.isfinite(numbers).all() else None


def is_close(answer: float, value: float, tolerance: float) -> bool:
    """Whether two numbers agree to within a relative tolerance."""
    return math.isclose(answer, value, rel_tol=tolerance, abs_tol=1e-12)


def check_number(
    answer: Any,
    expected: float,
    *,
    task: str,
    because: str,
    hint: str,
    mistakes: Sequence[tuple[float, str]] = (),
    tolerance: float = 0.01,
) -> Check:
    """Compare a number with the right one, and with what common mistakes would give.

    Args:
        answer: the content of the answer cell; an Ellipsis means not answered.
        expected: the right number.
        task: what to give, in a few words.
        because: what the right number means.
        hint: where to look if no mistake is recognized.
        mistakes: pairs of the number a mistake leads to and the hint for it; the first that fits
            is used. Wrong signs and factors of a hundred, a thousand and a million come after.
        tolerance: relative, to allow for rounding.
    """
    if answer is ...:
        return not_answered(f"replace the dots with {task}")
    number = as_number(answer)
    if number is None:
        return not_yet(f"saw {answer!r:.60}; expected a number, {task}")
    if is_close(number, expected, tolerance):
        return right(because)
    slips = [(factor * expected, text) for factor, text in SLIPS]
    for value, text in (*mistakes, *slips):
        if is_close(number, value, tolerance):
            return not_yet(text)
    return not_yet(f"too {'large' if number > expected else 'small'}; {hint}")
