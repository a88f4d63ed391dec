"""The notebooks in order, each in a kernel of its own, by papermill."""

import ast
import os
import time
from collections.abc import Callable
from typing import Any

import papermill
from papermill.exceptions import PapermillExecutionError

from kopt.case import absolute_case, case_name
from kopt.errors import ChainError, ParameterError
from kopt.parameters import check_parameters
from kopt.project import NOTEBOOKS
from kopt.workspace.directory import OWNER, Workspace
from kopt.workspace.record import STAGES

ERROR_LINES = 3


def notebook_parameters(stage: str) -> dict[str, Any]:
    """A notebook's parameters with their defaults, read from its parameters cell."""
    found = papermill.inspect_notebook(NOTEBOOKS / f"{stage}.ipynb")
    return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}


def select_stages(first: str | None, last: str | None) -> tuple[str, ...]:
    """The stages from one to another, both given by number or name.

    Raises:
        ParameterError: no such stage, or none between them.
    """
    start = 0 if first is None else _position(first)
    end = len(STAGES) - 1 if last is None else _position(last)
    if start > end:
        raise ParameterError(f"from {first} to {last}: nothing to run; expected from <= to")
    return STAGES[start : end + 1]


def run_chain(
    workspace: Workspace,
    parameters: dict[str, Any],
    stages: tuple[str, ...] = STAGES,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Run the notebooks of a run directory in order.

    The executed notebooks are left in ``workspace.notebooks``. Everything is checked before the
    first one starts.

    Args:
        workspace: the run directory.
        parameters: of the notebooks, "case" among them; each notebook is given those it has.
        stages: which to run.
        resume: leave out the first stages that are finished, fresh and ran with these parameters.
        say: takes the lines that tell what is being done.

    Raises:
        ParameterError: a parameter that no notebook of these has, or that is not valid.
        StageError: what the first of the stages continues from is missing or stale.
        WorkspaceError: the run directory is another case's, is being written, or cannot be.
        ChainError: a cell failed; names its notebook, its number and the error.
    """
    defaults = {stage: notebook_parameters(stage) for stage in stages}
    known = {name for names in defaults.values() for name in names}
    unknown = set(parameters) - known
    if unknown:
        raise ParameterError(
            f"{', '.join(sorted(unknown))}: no notebook from {stages[0]} to {stages[-1]} has that "
            f"parameter; expected {', '.join(sorted(known - {'run_dir'}))}"
        )
    check_parameters(parameters)
    parameters = parameters | {"case": absolute_case(parameters["case"])}
    if not resume:
        workspace.check_before(stages[0], parameters.get("quick", False))
    workspace.claim(case_name(parameters["case"]), "kopt run")
    os.environ[OWNER] = workspace.ownership
    try:
        for stage in stages:
            given = {
                name: parameters.get(name, default) for name, default in defaults[stage].items()
            }
            if resume and _is_done(workspace, stage, given):
                say(f"{stage}: done before, left as it is")
                continue
            resume = False
            run_notebook(stage, workspace, given)
    finally:
        del os.environ[OWNER]
        workspace.release()


def run_notebook(stage: str, workspace: Workspace, parameters: dict[str, Any]) -> None:
    """Run one notebook with a progress bar: which notebook, which cell, how long.

    Raises:
        ChainError: a cell failed.
    """
    started = time.monotonic()
    output = workspace.notebooks / f"{stage}.ipynb"
    try:
        papermill.execute_notebook(
            NOTEBOOKS / f"{stage}.ipynb",
            output,
            {**parameters, "run_dir": str(workspace.path.resolve())},
            progress_bar={
                "desc": stage.ljust(max(map(len, STAGES))),
                "bar_format": "{desc}  cell {n_fmt:>2} of {total_fmt}  {bar:24}  {elapsed}",
            },
            cwd=NOTEBOOKS,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )
    except PapermillExecutionError as error:
        message = "\n    ".join(str(error.evalue).splitlines()[:ERROR_LINES])
        raise ChainError(
            f"{stage}, cell [{error.exec_count}], after {time.monotonic() - started:.0f} s: "
            f"{error.ename}: {message}\n"
            f"the executed notebook with the whole traceback is {output}"
        ) from error


def _is_done(workspace: Workspace, stage: str, given: dict[str, Any]) -> bool:
    record = workspace.record(stage)
    asked = {name: value for name, value in given.items() if name != "run_dir"}
    return bool(record) and record.parameters == asked and not workspace.stale_because(stage)


def _position(stage: str) -> int:
    for position, name in enumerate(STAGES):
        if stage in (name, name[:2], name[1:2]):
            return position
    raise ParameterError(f"stage {stage!r}: no such stage; expected {', '.join(STAGES)}")
