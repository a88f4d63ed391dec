"""Each exercise on speed: right answers, rounded answers and recognised mistakes."""

import pytest

from kopt import checks
from kopt.checks.check import NO_QUESTION, NOT_ANSWERED, NOT_YET


def limit(answer):
    return checks.best_speedup(answer, share=0.72)


def seen(answer):
    return checks.seen_speedup(answer, call_us=50_000, layer_us=1_000)


def model(answer):
    return checks.model_speedup(answer, whole_us=1_000, before_us=700, after_us=70)


def wait(answer):
    return checks.batch_wait(answer, us_per_sample=1_200, batch=32)


def runtime(answer):
    return checks.runtime_part(answer, against_other=404, against_same=47.6)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (limit, 1 / 0.28),
        (limit, 3.6),
        (seen, 50 / 49),
        (seen, 1.02),
        (model, 1_000 / 370),
        (model, 2.7),
        (wait, 38_400),
        (runtime, 404 / 47.6),
        (runtime, 8.5),
    ],
)
def test_right_answers_pass(check, answer):
    assert check(answer).passed
    assert check(...).state == NOT_ANSWERED


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (limit, 0.28, "the remaining time"),
        (limit, 1 / 0.72, "if only this layer remained"),
        (limit, 0.72, "that is the share"),
        (limit, 2.57, "one too small"),
        (limit, 257, "how many per cent faster"),
        (limit, 1.72, "not adding it"),
        (limit, 357, "in per cent?"),
        (limit, 8, "too large; let the total be 1"),
        (seen, 0.98, "upside down"),
        (seen, 50, "divide by what is left"),
        (seen, 49_000, "in µs"),
        (seen, 3.57, "too large"),
        (seen, 1, "almost"),
        (limit, 72, "share in per cent"),
        (limit, 28, "rest in per cent"),
        (model, 10, "the layer alone"),
        (model, 0.37, "upside down"),
        (model, 3.33, "that is the limit"),
        (model, 7, "means nothing"),
        (model, 7.3, "cannot be averaged"),
        (model, 370, "the new time"),
        (wait, 1_200, "the cost per sample"),
        (wait, 37.5, "do not divide again"),
        (wait, 19_200, "all together"),
        (wait, 38.4, "a thousand times too small"),
        (runtime, 356.4, "multiply"),
        (runtime, 47.6, "the gain of the model"),
        (runtime, 404, "both together"),
        (runtime, 47.6 / 404, "upside down"),
        (runtime, 404 * 47.6, "twice"),
    ],
)
def test_each_mistake_gets_its_hint(check, answer, hint):
    assert check(answer).state == NOT_YET
    assert hint in check(answer).message


@pytest.mark.parametrize(
    ("share", "rounded"), [(0.954, 1 / 0.05), (0.346, 1 / 0.65), (0.0, 1), (-0.02, 1 / 1.02)]
)
def test_a_share_may_be_used_as_it_is_printed(share, rounded):
    assert checks.best_speedup(rounded, share).passed


@pytest.mark.parametrize(
    "check",
    [
        checks.best_speedup(1.0, share=1.03),
        checks.seen_speedup(1.0, call_us=100, layer_us=101),
        checks.seen_speedup(1.0, call_us=100, layer_us=-1),
        checks.model_speedup(1.0, whole_us=100, before_us=0, after_us=10),
        checks.model_speedup(1.0, whole_us=100, before_us=150, after_us=10),
        checks.model_speedup(1.0, whole_us=100, before_us=110, after_us=5),
    ],
)
def test_a_measurement_that_cannot_be_asked_about_is_told_and_stops_nothing(check):
    assert check.state == NO_QUESTION
    assert not check.passed


def test_a_rewritten_layer_that_is_lost_in_the_noise_can_still_be_asked_about():
    assert checks.model_speedup(100 / 49, whole_us=100, before_us=50, after_us=-1).passed
    assert checks.model_speedup(2.0, whole_us=100, before_us=50, after_us=0).passed
