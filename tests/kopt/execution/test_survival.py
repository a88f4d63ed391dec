"""Real runs, killed at chosen moments; random ones are in benchmarks/survival.py."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from kopt.project import ROOT
from kopt.workspace.directory import Workspace
from kopt.workspace.record import STAGES
from leankeras.scripts import run_script
from tests.kopt.execution.tiny_data import LOAD
from tests.kopt.workspace.holding import PATIENCE

TINY = (
    LOAD
    + """
import time

import keras
from keras import layers

from kopt.case import Case, Epochs
from kopt.cases.signal import CASE, CustomConv


@keras.saving.register_keras_serializable("survival")
class Patient(layers.Dense):
    '''Takes its time to be saved, so that it can be interrupted there.'''

    def save_own_variables(self, store):
        time.sleep(1)
        super().save_own_variables(store)


def build():
    inputs = keras.Input((16, 2))
    x = CustomConv(4, 3, name="conv")(inputs)
    x = layers.GlobalAveragePooling1D(name="mean")(layers.ReLU(name="relu")(x))
    return keras.Model(inputs, Patient(2, name="logits")(x), name="tiny")


case = Case(
    name="tiny",
    title="Two channels of noise",
    load=load,
    build=build,
    epochs=Epochs(profile=2, prune=1, distil=1, qat=1),
    slow_layer=CustomConv,
    rewrites=CASE.rewrites,
)
"""
)

survival = run_script(ROOT / "benchmarks/survival.py")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A case that is trained in a moment, in a file."""
    file = tmp_path_factory.mktemp("case") / "tiny.py"
    file.write_text(TINY)
    return f"{file}:case"


def start(case, workspace):
    return survival.Run(case, workspace, "--to", "01")


def wait_for(moment, run):
    while not moment():
        assert not run.ended
        time.sleep(0.002)


@pytest.mark.notebook
def test_a_run_killed_while_training_converting_and_writing_ends_like_an_unbroken_one(
    case, tmp_path
):
    unbroken, broken = Workspace(tmp_path / "unbroken"), Workspace(tmp_path / "broken")
    start(case, unbroken).wait()

    run = start(case, broken)
    wait_for(lambda: "fit(" in run.cell(), run)
    left = run.kill(whole=False)
    assert len(left) > 1

    run = start(case, broken)  # while the first one's kernel may still be running
    wait_for(run.is_converting, run)
    assert not any(process.is_running() for process in left)
    run.kill(whole=True)

    run = start(case, broken)
    wait_for(run.is_writing, run)
    run.kill(whole=True)
    assert run.is_writing()
    assert broken.records() == []

    start(case, broken).wait()
    assert broken.stale_because("01_profile") is None
    assert broken.record("01_profile").repeatable() == unbroken.record("01_profile").repeatable()
    assert not run.is_writing()


@pytest.mark.notebook
def test_ctrl_c_ends_with_a_line_and_nothing_left_over(case, tmp_path):
    workspace = Workspace(tmp_path / "run")
    run = subprocess.Popen(
        [sys.executable, "-m", "kopt", "run", case, "--quick", "--run-dir", workspace.path],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    notebook = workspace.running_notebook(STAGES[0])
    while not (notebook.exists() and '"status": "running"' in notebook.read_text()):
        assert run.poll() is None
        time.sleep(0.02)
    family = psutil.Process(run.pid).children(recursive=True)
    assert family
    os.killpg(run.pid, signal.SIGINT)
    complaint = run.communicate()[1]
    assert run.returncode == 130
    assert "Traceback" not in complaint
    assert complaint.splitlines()[-1] == (
        "kopt: 01_profile was interrupted; repeat the command with --resume to continue"
    )
    psutil.wait_procs(family, timeout=PATIENCE)
    assert not any(process.is_running() for process in family)
    assert workspace.records() == []
    workspace.claim("tiny", "the next run")
    workspace.release()
