"""The exercises on serving: right answers and recognized mistakes."""

import pytest

from kopt import checks
from kopt.checks.check import NOT_ANSWERED, NOT_YET


def stay(answer):
    return checks.time_in_system(answer, 32, 100)


def wait(answer):
    return checks.longest_batch_time(answer, 150, 40, 2)


def share(answer):
    return checks.repeats_that_pay(answer, 5, 100)


def test_right_answers_are_right():
    assert [stay(320).passed, wait(108).passed, share(0.05).passed] == [True] * 3
    assert {each(...).state for each in (stay, wait, share)} == {NOT_ANSWERED}


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (stay, 10, "the time between two answers"),
        (stay, 3200, "which of the three"),
        (stay, 0.32, "a thousand times too small"),
        (wait, 148, "the batch still has to run"),
        (wait, 68, "no batch runs before its own"),
        (wait, 120, "too large; a request waits"),
        (share, 20, "upside down"),
        (share, 0.95, "may be new"),
        (share, "few", "expected a number"),
    ],
)
def test_wrong_answers_get_their_hint(check, answer, hint):
    said = check(answer)
    assert said.state == NOT_YET
    assert hint in said.message
