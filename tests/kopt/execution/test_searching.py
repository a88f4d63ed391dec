"""A real search: the command, its workers and their trainings, killed once; 01 and 02 are stubs."""

import json
import os
import shlex
import signal
import subprocess
import sys

import psutil
import pytest

from kopt.cli import main
from kopt.errors import WorkspaceError
from kopt.execution.searching import search
from kopt.project import ROOT
from leankeras.errors import ParameterError
from leankeras.searching import Candidate
from tests.kopt.execution.stub_chain import begun, environment, write_notebooks
from tests.kopt.execution.test_sweep import living, wait_until
from tests.kopt.execution.tiny_data import LOAD
from tests.kopt.workspace.holding import PATIENCE

CASE = (
    LOAD
    + """
import keras

from kopt.case import Case, Epochs
from leankeras.budget import Budget


def build():
    stack = [
        keras.layers.Conv1D(8, 3, activation="relu", name="conv"),
        keras.layers.GlobalAveragePooling1D(name="mean"),
        keras.layers.Dense(2, name="logits"),
    ]
    return keras.Sequential([keras.Input((16, 2)), *stack], name="tiny")


case = Case(
    name="signal",
    title="Two channels of noise",
    load=load,
    build=build,
    epochs=Epochs(profile=1, prune=1, distil=1, qat=1),
    build_teacher=build,
    budget=Budget(accuracy_loss=0.5),
)
"""
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The case, its model as 02 would leave it, and stubs of the notebooks."""
    from leankeras.conversion import convert
    from leankeras.scripts import run_script

    folder = tmp_path_factory.mktemp("search")
    (folder / "tiny.py").write_text(CASE)
    model = run_script(folder / "tiny.py").build()
    slow = convert(model, folder / "slow.tflite", "float32").path
    write_notebooks(folder / "notebooks", slow.read_bytes())
    model.save(folder / "notebooks" / "model.keras")
    return folder


def start(place, *options):
    command = [sys.executable, "-m", "kopt", "search", f"{place / 'tiny.py'}:case", "--quick"]
    command += ["--mode", "float32", "--mode", "dynamic"]  # int8 has its own tests
    return subprocess.Popen(
        [*command, "--trials", "4", "--workers", "2", "--run-dir", str(place / "run"), *options],
        env=environment(place / "notebooks"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_search_that_is_killed_goes_on_and_ends_with_the_file_and_its_command(place):
    journal = place / "run" / "journal.log"
    started = start(place)
    wait_until(lambda: journal.exists() and "cost" in journal.read_text(), "a trial", started)
    family = psutil.Process(started.pid).children(recursive=True)
    os.kill(started.pid, signal.SIGKILL)
    started.communicate()
    wait_until(lambda: not living(family), "the end of what it had started")

    resumed = start(place, "--resume")
    out, complaint = resumed.communicate(timeout=PATIENCE)
    assert resumed.returncode == 0, complaint
    assert begun(place / "notebooks", "01_profile") == ["run"]
    assert "Traceback" not in complaint
    assert "trial 0: " in complaint
    folder = place / "run"
    line = next(line for line in out.splitlines() if line.startswith("make it again: "))
    command = shlex.split(line.removeprefix("make it again: "))
    assert command[:3] == ["kopt", "run", f"{place / 'tiny.py'}:case"]
    chain = Candidate.read(command[command.index("chain") + 1])
    assert str(chain) in out
    assert (folder / "winner.tflite").read_bytes()[4:8] == b"TFL3"
    assert (folder / "report.html").stat().st_size > 1e6
    asked = {json.loads(line).get("trial_id") for line in journal.read_text().splitlines()}
    assert asked - {None} == set(range(4))


def test_the_directory_of_another_search_is_refused_and_left(place, capsys):
    folder = place / "other"
    folder.mkdir(exist_ok=True)
    (folder / "search.json").write_text(json.dumps({"case": "vision"}))
    with pytest.raises(SystemExit) as ended:
        main(["search", f"{place / 'tiny.py'}:case", "--run-dir", str(folder), "--resume"])
    assert ended.value.code == 2
    assert "holds another search (other case, " in capsys.readouterr().err
    with pytest.raises(WorkspaceError, match="holds another search"):
        search(f"{place / 'tiny.py'}:case", run_dir=folder, resume=True)
    assert [path.name for path in folder.iterdir()] == ["search.json"]


def test_a_case_that_workers_cannot_find_is_refused():
    with pytest.raises(ParameterError, match=r"case: saw a dict; expected a name"):
        search({})
