"""Finding a case: one that comes with kopt, or one out of a user's files."""

from importlib import import_module
from pathlib import Path

from kopt.case import Case
from leankeras.errors import ParameterError
from leankeras.scripts import run_script

BUILT_IN = ("signal", "vision", "stream")


def case_files(case: str) -> list[Path]:
    """The user's files that a case is read from; none for a built-in one."""
    model, trained, data = case.partition(".keras:")
    if trained:
        return [Path(f"{model}.keras"), Path(data)]
    script, own, _ = case.rpartition(".py:")
    return [Path(f"{script}.py")] if own else []


def case_name(case: str) -> str:
    """How runs call a case; of a built-in one without waiting for TensorFlow."""
    return case if case in BUILT_IN else find_case(case).name


def absolute_case(case: str) -> str:
    """The same case, to be found from any working directory."""
    files = [str(path.resolve()) for path in case_files(case)]
    if len(files) == 1:
        files.append(case.rpartition(":")[2])
    return ":".join(files) or case


def find_case(name: str) -> Case:
    """A case by name, or out of a user's files.

    Args:
        name: "signal", "vision", "stream"; ``FILE.py:NAME`` for the :class:`Case` called NAME in
            a file, which is run, as ``python FILE.py`` would; or ``MODEL.keras:DATA.npz`` for a
            trained model and its :class:`Data`.

    Raises:
        ParameterError: no case of that name.
        ModelError: the file is not there or fails, or the model does not fit the data.
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
            f"case: saw {name!r}; expected {', '.join(BUILT_IN)}, FILE.py:NAME, or "
            "MODEL.keras:DATA.npz"
        )
    if len(files) == 2:
        if files[0].stem in BUILT_IN:
            raise ParameterError(
                f"{files[0]}: {files[0].stem} is the name of a case of kopt's; rename the file"
            )
        return import_module("kopt.cases.trained").trained_case(*files)
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
