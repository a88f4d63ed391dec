"""Two fast notebooks that stand in for the real ones in every process of a sweep.

A sweep is many processes: the command, its workers, their kernels. ``environment`` makes all of
them find the notebooks written here, whose cells call :func:`work`. Files beside the notebooks
control them: ``hold`` makes 02 wait; at the fraction written in it, ``broken`` makes it fail and
``crash`` makes its kernel crash unless TensorFlow's oneDNN is off.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd

from kopt.execution.kernel import ONEDNN
from kopt.project import ROOT
from kopt.workspace.directory import Workspace
from kopt.workspace.record import RESTARTED_AFTER
from leankeras.budget import Budget
from leankeras.digest import digest
from tests.kopt.workspace.holding import PATIENCE
from tests.kopt.workspace.test_directory import accuracy, record

FIRST, SECOND = "01_profile", "02_rewrite"
COMMON = ["case: str = 'signal'", "run_dir: str = None", "seed: int = 0", "quick: bool = False"]
OWN = {FIRST: [], SECOND: ["fraction: float = 0.5", "budget: str = None"]}
GRID = 'quick: true\nbudget: "1 ms"\nfraction: [{fractions}]\n'
PARAMETERS = {"tags": ["parameters"]}
ELSEWHERE = """
import os, pathlib, kopt.project
kopt.project.NOTEBOOKS = pathlib.Path(os.environ["KOPT_STUB"])
"""


def write_notebooks(folder: Path, tflite: bytes) -> None:
    """The notebooks, and what makes a process find them."""
    folder.mkdir()
    (folder / "file.tflite").write_bytes(tflite)
    (folder / "sitecustomize.py").write_text(ELSEWHERE)
    for stage, own in OWN.items():
        names = [line.partition(":")[0] for line in (*COMMON, *own)]
        given = ", ".join(f"{name}={name}" for name in names)
        cells = [
            nbformat.v4.new_code_cell(
                "\n".join([*COMMON, *own]), metadata={"tags": ["parameters"]}
            ),
            nbformat.v4.new_code_cell("from tests.kopt.execution.stub_chain import work"),
            nbformat.v4.new_code_cell(f"work({stage!r}, {given})"),
        ]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, folder / f"{stage}.ipynb")


def environment(folder: Path) -> dict[str, str]:
    """Of a process that is to find these notebooks, as will all that it starts."""
    search_path = os.pathsep.join(map(str, (folder, ROOT, ROOT / "leankeras")))
    return os.environ | {"KOPT_STUB": str(folder), "PYTHONPATH": search_path}


def begun(folder: Path, stage: str) -> list[str]:
    """The points in which a stage has been begun, as often as it was."""
    log = folder / "log"
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [point for name, point in lines if name == stage]


class Sweep:
    """A sweep of stub notebooks in a process of its own."""

    def __init__(self, folder, tflite, fractions):
        self.notebooks, self.directory = folder / "notebooks", folder / "sweep"
        self.grid = folder / "grid.yaml"
        self.grid.write_text(GRID.format(fractions=", ".join(map(str, fractions))))
        write_notebooks(self.notebooks, tflite)

    def start(self, *options, **variables):
        """Begin, as a terminal would: in a process group that gets its signals."""
        command = [sys.executable, "-m", "kopt", "sweep", str(self.grid), "--to", "02"]
        return subprocess.Popen(
            [*command, "--run-dir", str(self.directory), *options],
            env=environment(self.notebooks) | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # a shell makes background processes ignore Ctrl-C, perhaps including these tests
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, *options, **variables):
        """Exit code, output and complaints of a whole sweep."""
        started = self.start(*options, **variables)
        out, complaint = started.communicate(timeout=PATIENCE)
        return started.returncode, out, complaint

    def hold(self):
        (self.notebooks / "hold").touch()

    def let_go(self):
        (self.notebooks / "hold").unlink()

    def begun(self, stage):
        return begun(self.notebooks, stage)

    def workspace(self, point):
        return Workspace(self.directory / "points" / point)

    def table(self):
        return pd.read_parquet(self.directory / "sweep.parquet")


def work(stage: str, run_dir: str, quick: bool, **parameters) -> None:
    """What a stub notebook does: leave a file that LiteRT can run, and a record."""
    folder, workspace = Path.cwd(), Workspace(run_dir)
    workspace.check_before(stage, quick)
    workspace.claim("signal", stage)
    with (folder / "log").open("a") as log:
        log.write(f"{stage} {workspace.path.name}\n")
    fraction = parameters.get("fraction")
    while stage == SECOND and (folder / "hold").exists():
        time.sleep(0.05)
    if stage == SECOND and _is_at(folder / "broken", fraction):
        raise ValueError("it is broken")
    if stage == SECOND and _is_at(folder / "crash", fraction) and os.environ.get(ONEDNN) != "0":
        os.abort()
    crash = os.environ.get(RESTARTED_AFTER)
    (workspace.models / f"{stage}.tflite").write_bytes((folder / "file.tflite").read_bytes())
    if (folder / "model.keras").exists():
        (workspace.models / f"{stage}.keras").write_bytes((folder / "model.keras").read_bytes())
    (workspace.models / f"{stage}.txt").write_text(f"made for {workspace.path.name}")
    made = record(
        stage,
        inputs={FIRST: workspace.record(FIRST).outputs} if stage == SECOND else {},
        outputs={path.name: digest(path) for path in workspace.models.glob(f"{stage}.*")},
        parameters={"quick": quick, **parameters},
        test=accuracy(0.9 - 0.1 * (fraction or 0), 0.01),
        size_bytes=int(2000 - 1000 * (fraction or 0)),
        budget=Budget.parse(parameters.get("budget") or "1 us"),
        environment={"restarted_after": crash} if crash else {},
    )
    workspace.record_path(stage).write_text(made.to_json())
    workspace.release()


def _is_at(steering: Path, fraction: float | None) -> bool:
    return steering.exists() and float(steering.read_text()) == fraction
