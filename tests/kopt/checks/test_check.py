import numpy as np
import pytest

from kopt.checks.check import NO_QUESTION, NOT_ANSWERED, NOT_YET, RIGHT, Check, check_number


def ask(answer, mistakes=()):
    return check_number(
        answer, 40.0, task="a number", because="so it is", hint="look again", mistakes=mistakes
    )


@pytest.mark.parametrize(
    "answer", [40, 40.0, 39.7, 40.3, np.float32(40), np.int64(40)], ids=lambda value: repr(value)
)
def test_a_right_number_may_be_rounded_and_of_any_kind(answer):
    assert ask(answer).passed
    assert str(ask(answer)) == "right: so it is"


def test_dots_are_no_answer():
    check = ask(...)
    assert not check.passed
    assert str(check) == "not answered yet: replace the dots with a number"


@pytest.mark.parametrize(
    "answer",
    [None, True, "40", [40], np.array([40.0]), float("nan"), float("inf"), {}, print, 1 + 2j],
    ids=lambda value: repr(value),
)
def test_what_is_no_number_is_not_yet_right_and_nothing_is_raised(answer):
    check = ask(answer)
    assert check.state == NOT_YET
    assert "expected a number, a number" in check.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (-40, "sign"),
        (4000, "in per cent?"),
        (0.4, "a fraction"),
        (40_000, "a thousand times too large"),
        (0.04, "a thousand times too small"),
        (4e7, "a million times too large"),
        (4e-5, "a million times too small"),
        (41, "too large; look again"),
        (12, "too small; look again"),
    ],
)
def test_a_wrong_number_gets_a_hint_that_does_not_name_the_right_one(answer, hint):
    check = ask(answer)
    assert check.state == NOT_YET
    assert hint in check.message
    assert "40" not in check.message


def test_a_known_mistake_is_named_before_a_slip_of_the_unit_and_never_instead_of_right():
    mistakes = [(4000, "that is the other thing"), (40, "this never shows")]
    assert ask(4000, mistakes).message == "that is the other thing"
    assert ask(40, mistakes).passed


def test_only_a_right_answer_has_passed():
    states = (RIGHT, NOT_YET, NOT_ANSWERED, NO_QUESTION)
    assert [Check(state, "").passed for state in states] == [True, False, False, False]
