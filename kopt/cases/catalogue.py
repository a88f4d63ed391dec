"""Finding a case: one that comes with kopt, or one from a user's files."""

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from kopt.case import Case
from leankeras.errors import ParameterError
from leankeras.scripts import module_file, run_script

BUILT_IN = ("signal", "vision", "stream", "nodule")
TRAINED = re.compile(r"(.+?\.(?:keras|h5|hdf5)):(?:(.+?\.npz|[^:]+):(.+)(?<!\.npz)|(.+))")


def trained(model: Path | str, data: Path | str, modules: Sequence[str] = ()) -> str:
    """Name the case of a trained model, its data, and the modules that register its layers."""
    return ":".join([str(model), str(data), *([",".join(modules)] if modules else [])])


def case_files(case: str) -> list[Path]:
    """The user's files that a case is read from; none for a built-in one."""
    if parts := _trained(case):
        model, data, modules = parts
        found = [module_file(module) for module in modules]
        return [Path(model), Path(data), *(file for file in found if file)]
    script, own, _ = case.rpartition(".py:")
    return [Path(f"{script}.py")] if own else []


def case_name(case: str) -> str:
    """The name runs use for a case; for a built-in one, without waiting for TensorFlow."""
    return case if case in BUILT_IN else find_case(case).name


def absolute_case(case: str) -> str:
    """The same case with absolute paths, so it can be found from any working directory."""
    if parts := _trained(case):
        model, data, modules = parts
        files = [module_file(module) for module in modules]
        found = [
            str(file.resolve()) if file else module
            for file, module in zip(files, modules, strict=True)
        ]
        return trained(Path(model).resolve(), Path(data).resolve(), found)
    files = [str(path.resolve()) for path in case_files(case)]
    return f"{files[0]}:{case.rpartition(':')[2]}" if files else case


def _trained(case: str) -> tuple[str, str, list[str]] | None:
    """Model, data and modules of a trained model's case; None for any other case."""
    if not (match := TRAINED.fullmatch(case)):
        return None
    model, data, modules, rest = match.groups()
    return model, data or rest, modules.split(",") if modules else []


def check_run(case: str, task: str | None, budget: str | None) -> None:
    """Refuse a task or a budget that a case cannot have, before a notebook runs.

    Raises:
        DataError: the task is not that of the labels and outputs.
        ParameterError: the budget limits a score of another kind.
    """
    from leankeras.budget import Budget
    from leankeras.objective import find_objective

    found = find_case(case)
    data = found.load()
    objective = find_objective(found.build(), replace(data, task=task or data.task))
    limits = Budget.parse(budget) if budget else found.budget
    limits.may_lose(objective.task.score)


def find_case(name: str) -> Case:
    """Find a case by name, or in a user's files.

    Args:
        name: "signal", "vision", "stream", "nodule"; ``FILE.py:NAME`` for the :class:`Case`
            called NAME in a file, which is run as by ``python FILE.py``; or ``MODEL.keras:DATA``
            for a trained model (``.keras``, ``.h5`` or ``.hdf5``) and its :class:`Data` (an
            ``.npz`` or a folder), followed by ``:MODULE,...`` if modules register its custom
            layers.

    Raises:
        ParameterError: there is no case of that name.
        ModelError: the file is missing or fails, or the model does not fit the data.
        DataError: the data cannot be used.

    Example:
        >>> find_case("signal").budget.accuracy_loss
        0.01
    """
    if name in BUILT_IN:
        return import_module(f"kopt.cases.{name}").CASE
    files = case_files(name)
    if not files:
        raise ParameterError(
            f"case: saw {name!r}; expected {', '.join(BUILT_IN)}, FILE.py:NAME, or MODEL.keras:DATA"
        )
    if parts := _trained(name):
        if files[0].stem in BUILT_IN:
            raise ParameterError(
                f"{files[0]}: {files[0].stem} is the name of a built-in case; rename the file"
            )
        return import_module("kopt.cases.trained").trained_case(*files[:2], parts[2])
    path, attribute = files[0], name.rpartition(":")[2]
    defined = vars(run_script(path))
    if attribute not in defined:
        cases = [known for known, value in defined.items() if isinstance(value, Case)]
        raise ParameterError(
            f"case: {path} has no {attribute!r}; its cases are {', '.join(cases) or 'none'}"
        )
    if not isinstance(defined[attribute], Case):
        kind = type(defined[attribute]).__name__
        raise ParameterError(f"case: {attribute!r} in {path} is {kind}; expected a kopt.Case")
    return defined[attribute]
