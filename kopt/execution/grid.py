"""The grid of a sweep: a YAML file of notebook parameters, in which a list is an axis."""

import math
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from kopt.cases.catalogue import absolute_case, case_name
from kopt.parameters import PARAMETERS
from leankeras.errors import ParameterError, one_line
from leankeras.parameters import check_parameters, read_value

MOST_POINTS = 1000
LONGEST_NAME = 100
EXPECTED = "expected lines such as fraction: [0.3, 0.5]"


@dataclass(frozen=True)
class Point:
    """One combination of values from the grid.

    Attributes:
        name: its number and distinguishing values, such as "2_fraction=0.5"; a safe directory name.
        parameters: parameters of the notebooks, including "case".
    """

    name: str
    parameters: dict[str, Any]


Points = tuple[Point, ...]


def read_grid(path: Path, known: set[str], many: bool = False) -> Points:
    """Read a grid and check it completely.

    Args:
        path: a YAML file; its keys are notebook parameters and ``case``, and a list is an axis.
        known: the parameters of the notebooks to be run.
        many: whether more than :data:`MOST_POINTS` points are intended.

    Returns:
        The points in the order of the file; the last axis changes fastest.

    Raises:
        ParameterError: no readable mapping, an unknown parameter, a value of the wrong type or out
            of range, an empty list or a repeated value, an unknown case, or too many points.
        ModelError: a case's file is missing or fails.

    Example:
        >>> points = read_grid(Path("grid.yaml"), {"case", "fraction"})  # fraction: [0.3, 0.5]
        >>> [point.name for point in points]
        ['1_fraction=0.3', '2_fraction=0.5']
    """
    values = {name: _as_list(name, value) for name, value in _read(path).items()}
    for name, choices in values.items():
        _check(name, choices, known)
    # the same file may be written in two ways
    values["case"] = [absolute_case(case) for case in values.get("case", ["signal"])]
    for name, choices in values.items():
        _refuse_repeated(name, choices)
    count = math.prod(map(len, values.values()))
    if count > MOST_POINTS and not many:
        raise ParameterError(
            f"{path}: {count} points, above {MOST_POINTS}; shorten a list, or confirm with --yes"
        )
    titles = {case: case_name(case) for case in values["case"]}
    axes = [name for name, choices in values.items() if len(choices) > 1]
    points = []
    for number, chosen in enumerate(product(*values.values()), 1):
        parameters = dict(zip(values, chosen, strict=True))
        told = parameters | {"case": titles[parameters["case"]]}
        parts = [f"{number:0{len(str(count))}}", *(f"{name}={told[name]}" for name in axes)]
        points.append(Point(_safe("_".join(parts)), parameters))
    return tuple(points)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: cannot be read ({one_line(error)}); {EXPECTED}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: not YAML ({one_line(error)}); {EXPECTED}") from error
    if values is None:
        raise ParameterError(f"{path}: the file is empty; {EXPECTED}")
    if not isinstance(values, dict):
        raise ParameterError(f"{path}: contains a {type(values).__name__}; {EXPECTED}")
    keys = [key.value for key, _ in node.value]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:  # YAML itself would keep the last one
        raise ParameterError(f"{path}: {', '.join(repeated)} appears twice; give one list")
    return values


def _as_list(name: str, value: Any) -> list[Any]:
    if value == []:
        raise ParameterError(f"{name}: an empty list gives no points; add values or leave it out")
    choices = value if isinstance(value, list) else [value]
    # YAML reads 1e-1 as a string, and none too
    return [read_value(choice) if isinstance(choice, str) else choice for choice in choices]


def _check(name: str, choices: list[Any], known: set[str]) -> None:
    if name not in known - {"run_dir"}:
        raise ParameterError(
            f"{name}: not a parameter of these notebooks; expected "
            f"{', '.join(sorted(known - {'run_dir'}))}"
        )
    for value in choices:
        if not isinstance(value, bool | int | float | str | None):
            raise ParameterError(
                f"{name}: saw a {type(value).__name__}; expected a value or a list of values"
            )
        check_parameters({name: value}, PARAMETERS)


def _refuse_repeated(name: str, choices: list[Any]) -> None:
    for position, value in enumerate(choices):
        if value in choices[:position]:
            raise ParameterError(f"{name}: {value!r} appears twice; each value makes a point")


def _safe(name: str) -> str:
    """A directory name valid on every file system; the leading number keeps names distinct."""
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", name)[:LONGEST_NAME].rstrip(".")
