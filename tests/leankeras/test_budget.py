import pytest

from leankeras.budget import Budget
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


def verdicts(budget):
    """What a budget says of a file of 4.9 to 5.0 µs that loses 0.5 to 1.5 points."""
    row = {"us_low": 4.9, "us_high": 5.0, "size_kb": 1.5, "lost_low": 0.005, "lost_high": 0.015}
    return budget.verdicts(row, Merit("accuracy", "accuracy"))


@pytest.mark.parametrize(
    ("limit", "said"), [(4.8, "missed"), (4.9, "cannot tell"), (4.95, "cannot tell"), (5.0, "met")]
)
def test_a_latency_meets_its_limit_only_with_its_whole_interval(limit, said):
    assert verdicts(Budget(latency_us=limit)) == {"latency": said}


@pytest.mark.parametrize(
    ("limit", "said"),
    [(0.004, "missed"), (0.005, "cannot tell"), (0.01, "cannot tell"), (0.015, "met")],
)
def test_so_does_a_score(limit, said):
    assert verdicts(Budget(accuracy_loss=limit)) == {"accuracy": said}


def test_only_what_has_a_limit_is_judged():
    assert verdicts(Budget(size_kb=1.5)) == {"size": "met"}
    assert verdicts(Budget()) == {}
    with pytest.raises(ParameterError, match="the accuracy is a share"):
        verdicts(Budget(error_growth=0.1))
