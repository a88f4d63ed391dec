import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from leankeras.child import Child, JobError
from leankeras.conversion.converter import Converter
from leankeras.errors import ConversionError


@pytest.fixture(scope="module")
def process():
    with Converter() as worker:
        yield worker


def test_a_job_that_raises_leaves_the_child_alive(process):
    for _ in range(2):
        with pytest.raises(JobError, match="OSError"):
            process.request("describe", directory="/no/such/directory")
    before = process.process.pid
    with pytest.raises(JobError, match="AttributeError"):
        process.request("no_such_job")
    assert process.process.pid == before


def test_an_error_that_says_nothing_is_explained_by_the_log():
    root = str(Path(__file__).parents[2])
    with Child("tests.leankeras.jobs", {"PYTHONPATH": root}) as child:
        child.request("say", text="of an earlier job")
        with pytest.raises(JobError, match=r"RuntimeError: tfl\.pad is wrong$"):
            child.request("fail_silently", text="tfl.pad is wrong")


def test_a_killed_child_is_an_error_with_the_signal(process):
    process.warm()
    os.kill(process.process.pid, signal.SIGSTOP)
    threading.Timer(0.5, os.kill, (process.process.pid, signal.SIGKILL)).start()
    with pytest.raises(ConversionError, match=r"signal 9 \(SIGKILL\)"):
        process.request("describe", directory="/no/such/directory")
    with pytest.raises(JobError):
        process.request("describe", directory="/no/such/directory")


def test_a_hanging_child_is_stopped():
    with Converter(timeout=0.5) as worker:
        worker.warm()
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(ConversionError, match=r"longer than 0\.5 s"):
            worker.request("describe", directory="/no/such/directory")
        assert worker.process is None


def test_a_child_that_holds_too_much_memory_is_replaced():
    with Child("json", memory=1) as child:
        for _ in range(2):
            assert child.request("dumps", obj=[1]) == "[1]"
            assert child.process is None
    with Child("json", memory=1e9) as child:
        assert child.request("dumps", obj=[1]) == "[1]"
        assert child.process.poll() is None


def test_the_child_ends_with_its_parent():
    code = (
        "import time; from leankeras.conversion import converter;"
        "converter.warm_converter(); print(converter.shared.process.pid, flush=True);"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 60
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_warming_does_not_wait_and_does_not_import_tensorflow():
    code = (
        "import sys; from leankeras.conversion import converter; converter.warm_converter();"
        "assert converter.shared.process.poll() is None; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
