"""A real sweep: the command, its workers and their kernels, some of them killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest

from kopt.cli import main
from kopt.display.report import write_report
from kopt.workspace.directory import Workspace
from tests.kopt.execution.stub_chain import FIRST, SECOND, Sweep
from tests.kopt.execution.tiny_data import LOAD
from tests.kopt.workspace.holding import PATIENCE

FRACTIONS = [0.2, 0.4, 0.6, 0.8]
POINTS = [f"{number}_fraction={fraction}" for number, fraction in enumerate(FRACTIONS, 1)]
TWO = pytest.mark.parametrize("fractions", [FRACTIONS[:2]])


def wait_until(condition, what, started=None):
    """Wait for something, for as long as the sweep that is to bring it about runs."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not in {PATIENCE} s"
        assert started is None or started.poll() is None, started.communicate()
        time.sleep(0.05)


def workers_at_work(started):
    """Worker processes of a sweep that have a kernel."""
    children = psutil.Process(started.pid).children()
    return [child for child in children if child.children()]


def living(family):
    """Those processes of a family that still run; nobody may be there to bury the others."""
    running = psutil.process_iter(["status"])
    return set(family) & {p for p in running if p.info["status"] != psutil.STATUS_ZOMBIE}


@pytest.fixture
def fractions():
    return FRACTIONS


@pytest.fixture
def sweep(tmp_path, tflite, fractions):
    return Sweep(tmp_path, tflite, fractions)


def test_a_killed_worker_costs_nothing_but_time_and_what_points_share_is_run_once(sweep):
    sweep.hold()
    started = sweep.start("--workers", "2")
    wait_until(lambda: len(sweep.begun(SECOND)) == 2, "two points at work", started)
    workers_at_work(started)[0].kill()
    sweep.let_go()
    out, complaint = started.communicate(timeout=PATIENCE)

    assert started.returncode == 0, complaint
    assert sweep.begun(FIRST) == POINTS[:1]
    assert sorted(set(sweep.begun(SECOND))) == POINTS
    assert len(sweep.begun(SECOND)) == len(POINTS) + 1
    assert out.rstrip().endswith(f"report: {sweep.directory / 'report.html'}")
    table = sweep.table()
    assert table.index.tolist() == POINTS
    assert table.status.tolist() == ["finished"] * 4
    assert table.fraction.tolist() == FRACTIONS
    assert table.accuracy.tolist() == pytest.approx([88, 86, 84, 82])
    # timed again: the file is the slow model's own, whatever the stub's record says
    assert (table.speedup < 2).all()
    assert (table.latency_low <= table.latency_us).all()
    assert (table.within_budget == "met").all()
    saved = pd.read_csv(sweep.directory / "sweep.csv", index_col="point")
    assert saved.speedup.tolist() == pytest.approx(table.speedup.tolist())
    for point in POINTS:
        workspace = sweep.workspace(point)
        assert [workspace.stale_because(stage) for stage in (FIRST, SECOND)] == [None, None]
        assert (workspace.models / f"{FIRST}.txt").read_text() == f"made for {POINTS[0]}"
        assert (workspace.models / f"{SECOND}.txt").read_text() == f"made for {point}"
        assert (workspace.notebooks / f"{FIRST}.ipynb").is_file()
        assert write_report([workspace], workspace.path / "report.html").is_file()


@TWO
def test_an_interrupted_and_a_killed_sweep_go_on_with_resume(sweep):
    sweep.hold()
    started = sweep.start("--workers", "1")
    wait_until(lambda: sweep.begun(SECOND), "a point at work", started)
    family = psutil.Process(started.pid).children(recursive=True)
    os.killpg(started.pid, signal.SIGINT)
    _, complaint = started.communicate(timeout=PATIENCE)
    assert started.returncode == 130
    told = f"kopt: the sweep {sweep.directory} was interrupted; repeat the command with --resume"
    assert complaint.splitlines()[-1].startswith(told)
    assert "Traceback" not in complaint
    wait_until(lambda: not living(family), "the end of what it had started")

    started = sweep.start("--workers", "1", "--resume")
    wait_until(lambda: len(sweep.begun(SECOND)) == 2, "the point at work again", started)
    family = psutil.Process(started.pid).children(recursive=True)
    started.kill()
    started.communicate()
    wait_until(lambda: not living(family), "the end of what it had started")

    sweep.let_go()
    code, _, complaint = sweep.run("--workers", "1", "--resume")
    assert code == 0, complaint
    assert sweep.begun(FIRST) == POINTS[:1]
    assert sweep.begun(SECOND) == [POINTS[0]] * 3 + [POINTS[1]]
    assert sweep.table().status.tolist() == ["finished"] * 2


@TWO
def test_a_point_that_fails_or_crashes_is_told_and_stops_no_other(sweep):
    (sweep.notebooks / "broken").write_text("0.4")
    (sweep.notebooks / "crash").write_text("0.2")
    code, out, complaint = sweep.run("--workers", "1")
    assert code == 1, complaint
    told = f"failed: {POINTS[1]}: 02_rewrite, cell [4], after "
    assert told in out
    assert "ValueError: it is broken" in out
    assert told in complaint
    assert sweep.table().status.tolist() == ["finished", "failed"]
    assert "it is broken" in sweep.table().error[POINTS[1]]
    crash = "02_rewrite crashed (SIGABRT) and ran again without oneDNN"
    assert f"{POINTS[0]}: {crash}" in complaint
    assert sweep.begun(SECOND).count(POINTS[0]) == 2
    crashed = sweep.workspace(POINTS[0])
    assert crash in write_report([crashed], crashed.path / "report.html").read_text()

    (sweep.notebooks / "broken").unlink()
    code, _, complaint = sweep.run("--workers", "1", "--resume")
    assert code == 0, complaint
    assert sorted(sweep.begun(SECOND)) == [POINTS[0], POINTS[0], POINTS[1], POINTS[1]]
    assert sweep.table().status.tolist() == ["finished"] * 2


def as_file(folder):
    folder.write_text("mine")


def as_other_directory(folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")


def as_sweep(points):
    def make(folder):
        folder.mkdir()
        sweep = {"stages": [FIRST], "points": points}
        (folder / "sweep.json").write_text(json.dumps(sweep))

    return make


def as_torn_sweep(folder):
    as_sweep({})(folder)
    (folder / "sweep.json").write_text("{")


SAME = {f"{seed + 1}_seed={seed}": {"seed": seed, "case": "signal"} for seed in (0, 1)}
OTHER = {"1_seed=7": {"seed": 7, "case": "signal"}}


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (as_file, [], "is a file; expected a directory for the sweep"),
        (as_other_directory, [], "is neither empty nor a sweep; choose another --run-dir"),
        (as_other_directory, ["--resume"], "holds no sweep to continue"),
        (lambda folder: None, ["--resume"], "holds no sweep to continue"),
        (as_sweep(SAME), [], "already holds this sweep; continue with --resume"),
        (
            as_sweep(OTHER),
            ["--resume"],
            "holds another sweep (other points); choose another --run-dir",
        ),
        (as_sweep(OTHER), [], "holds another sweep (other points); choose another --run-dir"),
        (as_torn_sweep, ["--resume"], "sweep.json is damaged"),
    ],
)
def test_a_directory_that_is_not_this_sweeps_is_refused_and_left(
    make, options, message, tmp_path, capsys
):
    grid, folder = tmp_path / "grid.yaml", tmp_path / "sweep"
    grid.write_text("seed: [0, 1]")
    make(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(grid), "--to", "01", "--run-dir", str(folder), *options])
    complaint = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in complaint
    assert len(complaint.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


REAL = (
    LOAD
    + """
import keras

from kopt import Budget, Case
from kopt.case import Epochs


def build():
    inputs = keras.Input((16, 2))
    x = keras.layers.Conv1D(4, 3)(inputs)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x), name="tiny")


case = Case(
    name="tiny", title="Two channels of noise", load=load, build=build,
    epochs=Epochs(1, 1, 1, 1), budget=Budget(size_kb=1, latency_us=1e6),
)
"""
)


@pytest.mark.notebook
def test_the_real_notebooks_on_a_case_of_ones_own(tmp_path):
    (tmp_path / "tiny.py").write_text(REAL)
    (tmp_path / "grid.yaml").write_text("case: tiny.py:case\nquick: true\nepochs: [1, 2]\n")
    command = ["sweep", "grid.yaml", "--to", "01", "--workers", "2", "--run-dir", "sweep"]
    run = subprocess.run(
        [sys.executable, "-m", "kopt", *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    table = pd.read_parquet(tmp_path / "sweep/sweep.parquet")
    assert table.status.tolist() == ["finished"] * 2
    assert table.within_budget.tolist() == ["size missed"] * 2
    for point, epochs in zip(table.index, (1, 2), strict=True):
        workspace = Workspace(tmp_path / "sweep/points" / point)
        record = workspace.record(FIRST)
        assert record.parameters["epochs"] == epochs
        assert table.accuracy[point] == pytest.approx(100 * record.test["accuracy"])
        assert workspace.stale_because(FIRST) is None
