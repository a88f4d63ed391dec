import subprocess
import sys
import time
from importlib.metadata import version

import psutil
import pytest

from leankeras.runtime import machine
from leankeras.runtime.cores import CoreWatch


def test_cores_that_other_processes_use_are_not_free():
    workers = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(psutil.cpu_count())
    ]
    try:
        time.sleep(0.5)
        with CoreWatch() as cores:
            time.sleep(1)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert cores.free < 0.5 * psutil.cpu_count()


def test_what_this_process_uses_counts_as_free(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 50.0)
    with CoreWatch() as resting:
        time.sleep(0.2)
    with CoreWatch() as working:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    assert resting.free == pytest.approx(1, abs=0.2)
    assert working.free > resting.free


def test_others_and_own_are_shares_of_the_cores(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 100.0)
    with CoreWatch() as cores:
        time.sleep(0.2)
    assert cores.others == 1
    assert 0 <= cores.own < 0.5


def test_a_machine_is_named_with_what_measures_on_it(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast: 1 GHz\n")
    monkeypatch.setattr("leankeras.runtime.cores.CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("leankeras.runtime.cores.PACKAGES", ("leankeras", "not-installed"))
    known = machine()
    assert (known["processor"], known["cores"]) == ("Fast: 1 GHz", psutil.cpu_count())
    assert known["leankeras"] == version("leankeras")
    assert "not-installed" not in known
