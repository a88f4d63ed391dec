"""Numbers that control compression: their types and ranges, checked before any work."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from leankeras.errors import ParameterError


@dataclass(frozen=True)
class Parameter:
    """The values a parameter may take; ``expected`` describes them."""

    type: type
    expected: str
    allows: Callable[[Any], bool] = lambda value: True
    optional: bool = False


PARAMETERS = {
    "epochs": Parameter(int, "an integer of at least 1", lambda value: value >= 1),
    "sparsity": Parameter(float, "a number from 0 to below 1", lambda value: 0 <= value < 1),
    "fraction": Parameter(float, "a number from 0 to below 1", lambda value: 0 <= value < 1),
    "temperature": Parameter(float, "a number above 0", lambda value: 0 < value < float("inf")),
    "alpha": Parameter(float, "a number from 0 to 1", lambda value: 0 <= value <= 1),
}


def check_parameters(
    values: Mapping[str, Any], known: Mapping[str, Parameter] = PARAMETERS
) -> None:
    """Refuse unknown names, wrong types and values out of range.

    Args:
        values: name to value.
        known: the parameters that exist.

    Raises:
        ParameterError: names the first wrong parameter, what was seen and what was expected.

    Example:
        >>> check_parameters({"sparsity": 1.0})
        Traceback (most recent call last):
        leankeras.errors.ParameterError: sparsity: saw 1.0; expected a number from 0 to below 1
    """
    for name, value in values.items():
        if name not in known:
            raise ParameterError(
                f"{name}: no such parameter; expected {', '.join(known)}{suggestion(name, known)}"
            )
        rule = known[name]
        if value is None and rule.optional:
            continue
        if not _is_a(value, rule.type) or not rule.allows(value):
            raise ParameterError(f"{name}: saw {value!r}; expected {rule.expected}")


def read_value(text: str) -> Any:
    """Read a parameter's value as a person types it: a number, true, false, none, or a word.

    Example:
        >>> read_value("1e-1"), read_value("none"), read_value("vision")
        (0.1, None, 'vision')
    """
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name, "" if no known name is close.

    Example:
        >>> suggestion("fractoin", ["fraction", "epochs"])
        '; did you mean fraction?'
    """
    alike = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {alike[0]}?" if alike else ""


def _is_a(value: Any, wanted: type) -> bool:
    """isinstance, except that a bool is not a number and an integer counts as a float."""
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, int | float) if wanted is float else isinstance(value, wanted)
