import pytest

from kopt.parameters import PARAMETERS
from leankeras.errors import ParameterError
from leankeras.parameters import check_parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sparsity", 1.0),
        ("sparsity", -0.1),
        ("sparsity", "0.5"),
        ("fraction", 1),
        ("temperature", 0),
        ("temperature", float("nan")),
        ("alpha", 1.1),
        ("epochs", -1),
        ("epochs", 0),
        ("epochs", 1.5),
        ("seed", True),
        ("seed", -1),
        ("quick", "false"),
        ("quick", 1),
        ("case", None),
        ("run_dir", ""),
    ],
)
def test_wrong_types_and_ranges_are_refused_with_what_was_seen(name, value):
    with pytest.raises(ParameterError) as refused:
        check_parameters({name: value}, PARAMETERS)
    assert str(refused.value).startswith(f"{name}: saw {value!r}; expected ")


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ParameterError, match=r"fractoin: no such parameter; expected .*fraction"):
        check_parameters({"fractoin": 0.5}, PARAMETERS)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("fractoin", "fraction"), ("sparsty", "sparsity"), ("temprature", "temperature")],
)
def test_a_mistyped_name_is_told_what_was_meant(name, meant):
    with pytest.raises(ParameterError, match=rf"; did you mean {meant}\?$"):
        check_parameters({name: 0.5}, PARAMETERS)


def test_a_name_like_no_other_is_told_nothing():
    with pytest.raises(ParameterError) as refused:
        check_parameters({"colour": 0.5}, PARAMETERS)
    assert "did you mean" not in str(refused.value)


def test_good_values_pass():
    check_parameters(
        {"sparsity": 0, "fraction": 0.5, "temperature": 4, "alpha": 1, "epochs": None, "seed": 3},
        PARAMETERS,
    )
