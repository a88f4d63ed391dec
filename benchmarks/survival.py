"""Kill quick runs at random moments, resume them, and compare them with an uninterrupted one.

    uv run python benchmarks/survival.py [CASE] [KILLS] [DIRECTORY]

A run is killed equally often in each stage and resumed after each kill. When it ends, all its
records must equal those of the uninterrupted run, except for latencies; another run takes the
remaining kills. Every second time only the process of ``kopt run`` is killed, otherwise its kernel
and its converter too. A third of the kills wait for a file to be written and a third for the
converter to be running. An uninterrupted run in DIRECTORY is used if there is one.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from kopt.execution.chain import STAGES
from kopt.project import RUNS
from kopt.workspace.directory import Workspace

POLL_SECONDS = 0.005
AIMS = ("any", "writing", "converting")
LATEST = 0.8  # of a stage's time in the unbroken run, since a resumed one may be faster


class Run:
    """A ``kopt run --quick --resume`` that is watched, and killed or waited for.

    Args:
        case: as the command takes it.
        workspace: its run directory.
        options: more options of the command.
    """

    def __init__(self, case: str, workspace: Workspace, *options: str):
        self.workspace = workspace
        self._scratch = Path(tempfile.mkdtemp(dir=workspace.path.parent))
        self._log = workspace.path.with_suffix(".log")
        command = [sys.executable, "-m", "kopt", "run", case, "--quick", "--resume"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, "--run-dir", workspace.path, *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TMPDIR": str(self._scratch)},
            )

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def family(self) -> list[psutil.Process]:
        """The run, its kernel and the processes that the kernel has started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            run = psutil.Process(self._process.pid)
            return [run, *run.children(recursive=True)]
        return []

    def is_writing(self) -> bool:
        """Whether a model or a record exists under its temporary name."""
        folders = (self.workspace.models, self.workspace.path / "records")
        return any(list(folder.glob(".[0-9]*-*")) for folder in folders)

    def is_converting(self) -> bool:
        """Whether there is an exported model that the converter has not finished with."""
        return bool(list(self._scratch.glob("*/*/saved_model.pb")))

    def cell(self) -> str:
        """The first line of the cell that is running."""
        for stage in STAGES:
            path = self.workspace.running_notebook(stage)
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                for number, cell in enumerate(json.loads(path.read_text())["cells"]):
                    if cell["metadata"].get("papermill", {}).get("status") == "running":
                        return f"{stage}, {number}: {cell['source'][0].strip()[:46]}"
        return "between notebooks"

    def next_stage(self) -> str:
        """Where resuming will continue."""
        for stage in STAGES:
            unfinished = self.workspace.running_notebook(stage).exists()
            if unfinished or not self.workspace.record_path(stage).exists():
                return stage
        return "the report"

    def kill(self, whole: bool) -> list[psutil.Process]:
        """SIGKILL the run or its whole family and return the family; survivors end on their own."""
        family = self.family()
        for process in family if whole else family[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        return family

    def wait(self) -> None:
        """Wait for the run to end; if it failed, exit with the end of its log."""
        if self._process.wait():
            sys.exit(self._log.read_text()[-3000:])


def wait_for(run: Run, stage: str, aim: str, seconds: float) -> str | None:
    """Wait for a moment in a stage and say what is happening; None if the run ended before."""
    begun = time.monotonic()
    while not run.ended:
        if run.next_stage() < stage:
            begun = time.monotonic()
        elif time.monotonic() - begun >= seconds:
            happening = [
                name
                for name, now in (("writing", run.is_writing), ("converting", run.is_converting))
                if aim in ("any", name) and now()
            ]
            if happening or aim == "any":
                return " ".join([f"{time.monotonic() - begun:.0f} s", *happening])
        time.sleep(POLL_SECONDS)
    return None


def end_of(processes: list[psutil.Process]) -> float:
    """Seconds until all of them are gone."""
    begun = time.monotonic()
    psutil.wait_procs(processes, timeout=60)
    if any(process.is_running() for process in processes):
        sys.exit(f"still running after a minute: {processes}")
    return time.monotonic() - begun


def check(run: Run, broken: Workspace, unbroken: Workspace) -> None:
    """Let a run finish, and exit if its records differ from those of the unbroken one."""
    run.wait()
    different = [
        stage
        for stage in STAGES
        if not broken.record(stage)
        or broken.stale_because(stage)
        or broken.record(stage).repeatable() != unbroken.record(stage).repeatable()
    ]
    if different:
        sys.exit(f"different from the unbroken run: {', '.join(different)}")


def main(case: str = "signal", kills: str = "20", directory: str | None = None) -> None:
    """Print a row per kill, and whether the runs ended like the unbroken one."""
    folder = Path(directory) if directory else RUNS / "survival"
    folder.mkdir(parents=True, exist_ok=True)
    unbroken = Workspace(folder / "unbroken")
    if len(unbroken.records()) < len(STAGES):
        Run(case, unbroken).wait()
    broken, moment, rows = Workspace(folder / "broken"), random.Random(0), []
    shutil.rmtree(broken.path, ignore_errors=True)
    run = Run(case, broken)
    while len(rows) < int(kills):
        number = len(rows)
        stage = STAGES[number * len(STAGES) // int(kills)]
        aim, whole = AIMS[number % len(AIMS)], number % 2 == 0
        seconds = moment.uniform(0, LATEST * unbroken.record(stage).seconds)
        happening = wait_for(run, stage, aim, seconds)
        if happening is None:  # the run ended first
            check(run, broken, unbroken)
            shutil.rmtree(broken.path)
            run = Run(case, broken)
            continue
        cell = run.cell()
        family = run.kill(whole)
        next_stage = run.next_stage()
        run = Run(case, broken)
        rows.append(
            {
                "after": happening,
                "cell": cell,
                "killed": "all" if whole else "kopt run",
                "continues at": next_stage,
                "others gone, s": round(end_of(family), 1),
            }
        )
        print(rows[-1], flush=True)
    check(run, broken, unbroken)
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[str(value) for value in row.values()] for row in rows]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))
    print("all records equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
