import pytest

from kopt.budget import Budget
from kopt.workspace.record import within_budget
from tests.workspace.test_directory import record

ROWS = [{"target": "a", "accuracy": 0.5, "median_us": 2.0}, {"target": "b", "accuracy": 0.6}]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"seconds": 7.0, "conditions": "busy"}, True),
        ({"latency": {"median_us": 9.0, "ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0}}, True),
        ({"tables": {"t": [ROWS[1], ROWS[0] | {"median_us": 3.0, "verdict": "faster"}]}}, True),
        ({"budget": {"latency": "missed", "size": "missed", "accuracy": "cannot tell"}}, True),
        ({"accuracy": 0.81}, False),
        ({"outputs": {"01_profile.tflite": "1"}}, False),
        ({"tables": {"t": [ROWS[0], ROWS[1] | {"accuracy": 0.61}]}}, False),
        ({"tables": {"t": ROWS[:1]}}, False),
        ({"budget": {"latency": "met", "size": "met", "accuracy": "cannot tell"}}, False),
        ({"case_files": {"/mine.py": "1"}}, False),
    ],
)
def test_what_a_repetition_gives_again_is_all_but_the_times(change, same):
    first = record("01_profile", tables={"t": ROWS})
    second = record("01_profile", **({"tables": {"t": ROWS}} | change))
    assert (first.repeatable() == second.repeatable()) is same


@pytest.mark.parametrize(
    ("limit", "said"), [(9.9, "missed"), (10, "cannot tell"), (11, "cannot tell"), (12.1, "met")]
)
def test_a_latency_is_within_budget_only_with_its_whole_interval(limit, said):
    latency = {"median_low": 10, "median_high": 12}
    assert within_budget(Budget(latency_us=limit), latency, 1, 0) == {"latency": said}


def test_only_what_has_a_limit_is_judged():
    latency = {"median_low": 10, "median_high": 12}
    budget = Budget(size_kb=2, accuracy_loss=0.01)
    assert within_budget(budget, latency, 2000, 0.02) == {"size": "met", "accuracy": "missed"}
    assert within_budget(Budget(), latency, 2000, 0.02) == {}
