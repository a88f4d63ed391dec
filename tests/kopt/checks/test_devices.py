"""The exercises on devices: right answers and recognized mistakes."""

import pandas as pd
import pytest

from kopt import checks
from kopt.checks.check import NOT_ANSWERED, NOT_YET

MEMORY = pd.DataFrame({"inputs": [512, 1920, 1920], "outputs": [1920, 1920, 64]})
NAMES = ["XNNPACK, 1 thread(s)", "built-in, 1 thread(s)", "XNNPACK, 2 thread(s)"]


def settings(*verdicts):
    ratios = {"reference": 1.0, "faster": 0.6, "slower": 2.0, "cannot tell": 0.97}
    table = pd.DataFrame({"ratio": [ratios[each] for each in verdicts], "verdict": verdicts}, NAMES)
    return table.assign(ratio_low=table.ratio - 0.05, ratio_high=table.ratio + 0.05)


def memory(answer):
    return checks.least_memory(answer, MEMORY)


def setting(answer, *others):
    return checks.setting_to_ship(answer, settings("reference", *others))


def test_the_least_memory_is_that_of_the_worst_moment():
    assert memory(3840).passed
    assert memory(...).state == NOT_ANSWERED


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (8256, "keeps every tensor"),
        (3904, "nobody reads any more"),
        (1920, "the largest tensor"),
        (2752, "the worst moment, not on average"),
        (3.84, "a thousand times too small"),
        (5000, "too large; which tensors"),
        ("much", "expected a number"),
    ],
)
def test_wrong_answers_get_their_hint(answer, hint):
    said = memory(answer)
    assert said.state == NOT_YET
    assert hint in said.message


def test_the_setting_is_the_default_unless_another_is_shown_to_be_faster():
    assert setting(...).state == NOT_ANSWERED
    assert setting(NAMES[0], "slower", "cannot tell").passed
    assert "whole interval" in setting(NAMES[2], "slower", "cannot tell").message
    assert setting(NAMES[2], "slower", "faster").passed
    assert "whole interval" in setting(NAMES[0], "slower", "faster").message
    assert "expected one of" in setting("XNNPACK", "slower", "faster").message


def test_of_two_faster_settings_the_faster_is_right():
    table = settings("reference", "faster", "faster")
    table.loc[NAMES[1], ["ratio", "ratio_low", "ratio_high"]] = 0.9, 0.85, 0.95
    assert "faster still" in checks.setting_to_ship(NAMES[1], table).message
    assert checks.setting_to_ship(NAMES[2], table).passed
