import pytest

from kopt.budget import Budget
from leankeras.errors import ParameterError
from leankeras.task import Merit


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2 ms, 50 kB, 0.5 points", Budget(2000, 50, 0.005)),
        ("300us", Budget(latency_us=300)),
        ("1.5 MB,1 point", Budget(size_kb=1500, accuracy_loss=0.01)),
        ("0 points", Budget(accuracy_loss=0)),
        (".5 µs", Budget(latency_us=0.5)),
        ("2 ms, 3 %", Budget(latency_us=2000, error_growth=0.03)),
    ],
)
def test_limits_are_read_as_a_person_writes_them(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    "text",
    ["", "fast", "2", "2 s", "-1 ms", "2 ms 50 kB", "2 ms, 3 us", "1e9 kB", "0 ms", "nan us"],
)
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(ParameterError, match="budget: "):
        Budget.parse(text)


@pytest.mark.parametrize("limit", ["20", -1, float("nan"), [1]])
def test_a_limit_is_a_number_above_zero(limit):
    with pytest.raises(ParameterError, match=r"latency_us is .*expected a number above 0"):
        Budget(latency_us=limit)


def test_a_budget_says_its_limits():
    assert str(Budget(2000, None, 0.005)) == "2000 µs, 0.5 points of the score"
    assert str(Budget(accuracy_loss=0)) == "0 points of the score"
    assert str(Budget(accuracy_loss=0.01)) == "1 point of the score"
    assert str(Budget()) == "no limit"


def test_a_loss_is_limited_in_the_unit_of_the_score():
    share, error = Merit("IoU", "IoU"), Merit("MAE", "mean absolute error", is_error=True)
    assert Budget(accuracy_loss=0.01).may_lose(share) == 0.01
    assert Budget(error_growth=0.03).may_lose(error) == 0.03
    assert Budget(latency_us=1).may_lose(share) is None
    with pytest.raises(ParameterError, match="the IoU is a share, so give its loss as in"):
        Budget(error_growth=0.03).may_lose(share)
    with pytest.raises(ParameterError, match="error is an error, so give its loss as in"):
        Budget(accuracy_loss=0.01).may_lose(error)
