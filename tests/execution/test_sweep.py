"""A sweep as it is run: the command, its workers and their kernels, some of them killed."""

import os
import signal
import time

import pandas as pd
import psutil
import pytest

from kopt.display.report import write_report
from tests.execution.stub_chain import FIRST, PATIENCE, SECOND, Sweep

FRACTIONS = [0.2, 0.4, 0.6, 0.8]
POINTS = [f"{number}_fraction={fraction}" for number, fraction in enumerate(FRACTIONS, 1)]
TWO = pytest.mark.parametrize("fractions", [FRACTIONS[:2]])


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not in {PATIENCE} s"
        time.sleep(0.05)


def workers_at_work(started):
    """Worker processes of a sweep that have a kernel."""
    children = psutil.Process(started.pid).children()
    return [child for child in children if child.children()]


@pytest.fixture
def fractions():
    return FRACTIONS


@pytest.fixture
def sweep(tmp_path, tflite, fractions):
    return Sweep(tmp_path, tflite, fractions)


def test_a_killed_worker_costs_nothing_but_time_and_what_points_share_is_run_once(sweep):
    sweep.hold()
    started = sweep.start("--workers", "2")
    wait_until(lambda: len(sweep.begun(SECOND)) == 2, "two points at work")
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
    # timed anew: the file is the slow model's own, whatever the stub's record says
    assert (table.speedup < 2).all()
    assert (table.latency_low <= table.latency_us).all()
    assert (table.within_budget == "size missed, accuracy cannot tell").all()
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
    wait_until(lambda: sweep.begun(SECOND), "a point at work")
    family = psutil.Process(started.pid).children(recursive=True)
    os.killpg(started.pid, signal.SIGINT)
    _, complaint = started.communicate(timeout=PATIENCE)
    assert started.returncode == 130
    told = f"kopt: the sweep {sweep.directory} was interrupted; the same command with --resume"
    assert complaint.splitlines()[-1].startswith(told)
    assert "Traceback" not in complaint
    assert not [process for process in family if process.is_running()]

    started = sweep.start("--workers", "1", "--resume")
    wait_until(lambda: len(sweep.begun(SECOND)) == 2, "the point at work again")
    family = psutil.Process(started.pid).children(recursive=True)
    started.kill()
    started.communicate()
    psutil.wait_procs(family, timeout=PATIENCE)

    sweep.let_go()
    code, _, complaint = sweep.run("--workers", "1", "--resume")
    assert code == 0, complaint
    assert sweep.begun(FIRST) == POINTS[:1]
    assert sweep.begun(SECOND) == [POINTS[0]] * 3 + [POINTS[1]]
    assert sweep.table().status.tolist() == ["finished"] * 2


@TWO
def test_a_failed_point_is_told_and_stops_no_other_and_resume_runs_it_again(sweep):
    (sweep.notebooks / "broken").write_text("0.4")
    code, out, complaint = sweep.run("--workers", "2")
    assert code == 1, complaint
    told = f"failed: {POINTS[1]}: 02_rewrite, cell [4], after "
    assert told in out
    assert "ValueError: it is broken" in out
    assert told in complaint
    assert sweep.table().status.tolist() == ["finished", "failed"]
    assert "it is broken" in sweep.table().error[POINTS[1]]

    (sweep.notebooks / "broken").unlink()
    code, _, complaint = sweep.run("--workers", "2", "--resume")
    assert code == 0, complaint
    assert sorted(sweep.begun(SECOND)) == [POINTS[0], POINTS[1], POINTS[1]]
    assert sweep.table().status.tolist() == ["finished"] * 2
