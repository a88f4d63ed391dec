"""The notebooks in order, each in its own kernel, run by papermill."""

import ast
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from kopt.cases.catalogue import absolute_case, case_name
from kopt.errors import ChainError, Interrupted, KernelDied, WorkspaceError
from kopt.execution.kernel import CRASHES, ONEDNN, Death, out_of_memory_kills, recording
from kopt.execution.notebook_bar import ENGINE
from kopt.parameters import PARAMETERS
from kopt.project import NOTEBOOKS
from kopt.workspace.directory import OWNER, Workspace
from kopt.workspace.record import RESTARTED_AFTER, STAGES
from leankeras.errors import ParameterError
from leankeras.parameters import check_parameters
from leankeras.searching import Candidate

ERROR_LINES = 3
BAR = "{desc}  cell {n_fmt:>2} of {total_fmt}  {bar:24}  {elapsed}{postfix}"


def _is_news(record: logging.LogRecord) -> bool:
    """Whether an asyncio log record says something other than that a kernel has died.

    After Ctrl-C, that is the end of a task nobody waits for; otherwise it becomes a ChainError.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], DeadKernelError))


logging.getLogger("asyncio").addFilter(_is_news)


def notebook_parameters(stage: str) -> dict[str, Any]:
    """A notebook's parameters with their defaults, read from its parameters cell."""
    found = papermill.inspect_notebook(NOTEBOOKS / f"{stage}.ipynb")
    return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}


def select_stages(first: str | None, last: str | None) -> tuple[str, ...]:
    """The stages from the first to the last, each given by number or name.

    Without a last one, the last that can be run: 08 takes the extra ``serve``.

    Raises:
        ParameterError: no such stage, or no stage between them.
    """
    last = last or STAGES[-1 if find_spec("mlserver") and find_spec("locust") else -2]
    start, end = 0 if first is None else _position(first), _position(last)
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

    The executed notebooks are kept in ``workspace.notebooks``. Everything is checked before the
    first one starts.

    Args:
        workspace: the run directory.
        parameters: parameters of the notebooks, including "case"; each notebook gets its own.
        stages: the stages to run.
        resume: skip stages that are finished, not stale, and ran with the same parameters.
        say: receives progress messages, line by line.

    Raises:
        ParameterError: a parameter is invalid, or none of these notebooks has it.
        StageError: the stage that the first one continues from is missing or stale.
        WorkspaceError: the run directory belongs to another case, is in use, or is not writable.
        ChainError: a cell failed or the kernel died; names the notebook, the cell and the error.
        Interrupted: by Ctrl-C; earlier stages are complete, and resuming continues from this one.
    """
    defaults = {stage: notebook_parameters(stage) for stage in stages}
    known = {name for names in defaults.values() for name in names}
    unknown = set(parameters) - known
    if unknown:
        raise ParameterError(
            f"{', '.join(sorted(unknown))}: no notebook from {stages[0]} to {stages[-1]} has this "
            f"parameter; expected {', '.join(sorted(known - {'run_dir'}))}"
        )
    check_parameters(parameters, PARAMETERS)
    parameters = parameters | {"case": absolute_case(parameters["case"])}
    if parameters.get("chain"):
        Candidate.read(parameters["chain"])
        parameters["chain"] = str(Path(parameters["chain"]).resolve())
    workspace.check_before(stages[0], parameters.get("quick", False))
    workspace.claim(case_name(parameters["case"]), "kopt run")
    try:
        with _environment({OWNER: workspace.ownership}):
            for stage in stages:
                given = {
                    name: parameters.get(name, default) for name, default in defaults[stage].items()
                }
                reason = _reason_to_run(workspace, stage, given)
                if resume and reason is None:
                    say(f"{stage}: already done, skipped")
                    continue
                if resume and workspace.record(stage):
                    say(f"{stage}: running again, {reason}")
                run_notebook(stage, workspace, given, say)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{stage} was interrupted; repeat the command with --resume to continue"
        ) from None
    finally:
        workspace.release()
    for stage in STAGES[STAGES.index(stages[-1]) + 1 :]:
        if workspace.record(stage) and (reason := workspace.stale_because(stage)):
            say(f"{stage} is stale: {reason}")


def run_notebook(
    stage: str,
    workspace: Workspace,
    parameters: dict[str, Any],
    say: Callable[[str], None] = print,
) -> None:
    """Run one notebook with a progress bar: which notebook, which cell, how long.

    The notebook so far is in ``.<stage>.ipynb`` until the run ends, successfully or not. A kernel
    that crashes is started once more with TensorFlow's oneDNN off, and the record says so. The
    cause is remembered until the stage has finished, so that a resumed run does not begin with
    the same crash.

    Raises:
        ChainError: a cell failed, or the kernel died.
        WorkspaceError: the executed notebook cannot be written.
    """
    note = workspace.running_notebook(stage).with_suffix(".death")
    cause = note.read_text() if note.exists() else ""
    if cause:
        say(f"{stage}: its kernel died last time ({cause})")
    if cause not in CRASHES:
        try:
            _execute(stage, workspace, parameters)
        except KernelDied as died:
            cause = died.cause
            note.write_text(cause)
            if cause not in CRASHES or os.environ.get(ONEDNN) == "0":
                raise
            say(f"{stage}: the kernel crashed ({cause})")
    if cause in CRASHES:
        say(f"{stage}: running it with {ONEDNN}=0, since oneDNN crashes on some processors")
        with _environment({ONEDNN: "0", RESTARTED_AFTER: cause}):
            _execute(stage, workspace, parameters)
    note.unlink(missing_ok=True)


def _execute(stage: str, workspace: Workspace, parameters: dict[str, Any]) -> None:
    started, kills = time.monotonic(), out_of_memory_kills()
    output, running = workspace.notebooks / f"{stage}.ipynb", workspace.running_notebook(stage)
    kernels: list[Popen] = []
    try:
        papermill.execute_notebook(
            NOTEBOOKS / f"{stage}.ipynb",
            running,
            {**parameters, "run_dir": str(workspace.path.resolve())},
            engine_name=ENGINE,
            progress_bar={
                "desc": stage.ljust(max(map(len, STAGES))),
                "bar_format": BAR,
            },
            cwd=NOTEBOOKS,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            kernel_manager_class=recording(kernels),
        )
        os.replace(running, output)
    except PapermillExecutionError as error:
        os.replace(running, output)
        message = "\n    ".join(str(error.evalue).splitlines()[:ERROR_LINES])
        raise ChainError(
            f"{stage}, cell [{error.exec_count}], after {time.monotonic() - started:.0f} s: "
            f"{error.ename}: {message}\n"
            f"the executed notebook with the full traceback is {output}"
        ) from error
    except RuntimeError as error:  # DeadKernelError, and a kernel that does not start
        when = f"{stage}, {_cell(running)}after {time.monotonic() - started:.0f} s"
        if not str(error).startswith("Kernel died") or not kernels:
            raise ChainError(f"{when}: {error}; repeat the command with --resume") from error
        death = Death.of(kernels[-1], kills)
        raise KernelDied(f"{when}: {death}", death.cause) from error
    except OSError as error:
        raise WorkspaceError(
            f"{output} cannot be written ({error.strerror or error}); free some space and continue "
            "with --resume"
        ) from error


def _cell(running: Path) -> str:
    """The cell that a notebook had reached, by the number that Jupyter shows."""
    states = [
        cell["metadata"]["papermill"]["status"]
        for cell in json.loads(running.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    begun = sum(state != "pending" for state in states)
    return f"cell [{begun}], " if begun else ""


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the kernels started in the meantime."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _reason_to_run(workspace: Workspace, stage: str, given: dict[str, Any]) -> str | None:
    """Why a stage cannot be skipped; None if it can."""
    record = workspace.record(stage)
    if record is None:
        return f"{stage} has not finished"
    for name in sorted(given.keys() - {"run_dir"}):
        before = record.parameters.get(name)
        if before != given[name]:
            return f"{name} was {before} and is now {given[name]}"
    if workspace.running_notebook(stage).exists():
        return "its notebook did not run to the end"
    return workspace.stale_because(stage)


def _position(stage: str) -> int:
    for position, name in enumerate(STAGES):
        if stage in (name, name[:2], name[1:2]):
            return position
    raise ParameterError(f"stage {stage!r}: no such stage; expected {', '.join(STAGES)}")
