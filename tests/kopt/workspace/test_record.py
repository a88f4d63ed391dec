import pytest

from kopt.workspace.record import LATENCY
from leankeras.budget import Budget
from tests.kopt.workspace.test_directory import accuracy, record

ROWS = [{"target": "a", "accuracy": 0.5, "us": 2.0}, {"target": "b", "accuracy": 0.6}]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"seconds": 7.0, "conditions": "busy"}, True),
        ({"latency": dict.fromkeys(LATENCY, 9.0)}, True),
        ({"tables": {"t": [ROWS[1], ROWS[0] | {"us": 3.0, "verdict": "faster"}]}}, True),
        ({"test": accuracy(0.81, 0.01)}, False),
        ({"outputs": {"01_profile.tflite": "1"}}, False),
        ({"tables": {"t": [ROWS[0], ROWS[1] | {"accuracy": 0.61}]}}, False),
        ({"tables": {"t": ROWS[:1]}}, False),
        ({"budget": Budget(latency_us=5.0, size_kb=2.0, accuracy_loss=0.02)}, False),
        ({"case_files": {"/mine.py": "1"}}, False),
    ],
)
def test_what_a_repetition_gives_again_is_all_but_the_times(change, same):
    first = record("01_profile", tables={"t": ROWS})
    second = record("01_profile", **({"tables": {"t": ROWS}} | change))
    assert (first.repeatable() == second.repeatable()) is same


def test_only_what_has_a_limit_is_judged():
    judged = record("01_profile", budget=Budget(size_kb=2, accuracy_loss=0.004)).within_budget
    assert judged == {"size": "met", "accuracy": "missed"}
    assert record("01_profile", budget=Budget()).within_budget == {}
