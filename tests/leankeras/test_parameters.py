import pytest

from leankeras.parameters import read_value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-1", 0.1), ("010", 10), ("1e3", 1000.0), ("True", True), ("none", None), ("a: b", "a: b")],
)
def test_values_are_read_as_a_person_types_them(text, value):
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)
