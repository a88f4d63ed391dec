"""A cluster started by the command, and an existing one of separate processes."""

import os
import shutil
import socket
import subprocess
import sys
from threading import Thread

import pytest
from distributed import Client

from kopt.cli import main
from kopt.errors import ClusterError, WorkspaceError
from kopt.execution import cluster
from kopt.execution.cluster import check_storage, open_cluster, thread_settings
from kopt.project import ROOT
from tests.kopt.execution.stub_chain import Sweep, environment


@pytest.fixture(scope="module")
def start():
    """Starts a part of Dask in a process of its own; all are ended at the end."""
    started = []

    def start(part, *arguments, **options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{part}", *map(str, arguments)]
        started.append(subprocess.Popen([*command, "--no-dashboard"], **options))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(60)


@pytest.fixture
def scheduler(start):
    """Address of a scheduler on loopback that has no workers yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start("scheduler", "--host", "127.0.0.1", "--port", port)
    address = f"tcp://127.0.0.1:{port}"
    Client(address, timeout=120, set_as_default=False).close()
    return address


def join(start, scheduler, threads=1, **options):
    start("worker", scheduler, "--host", "127.0.0.1", "--nthreads", threads, **options)
    with Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=120)


def test_its_own_cluster_is_for_this_machine_and_shares_the_cores_out():
    with open_cluster(workers=2) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        settings = client.run(lambda: dict(os.environ))
        threads = client.nthreads()
        assert all(address.startswith("tcp://127.0.0.1:") for address in workers)
        assert client.dashboard_link.startswith("http://127.0.0.1:")
    assert list(threads.values()) == [1, 1]
    for environ in settings.values():
        assert thread_settings(2).items() <= environ.items()


@pytest.mark.parametrize(("workers", "threads"), [(1, "8"), (3, "2"), (16, "1")])
def test_each_worker_has_its_part_of_the_cores(workers, threads, monkeypatch):
    monkeypatch.setattr(cluster, "CPU_COUNT", 8)
    assert thread_settings(workers)["TF_NUM_INTRAOP_THREADS"] == threads


def test_tensorflow_takes_the_threads_it_is_given():
    code = (
        "import os, psutil, tensorflow as tf\n"
        "x = tf.random.normal((512, 512))\n"
        "before = psutil.Process().num_threads()\n"
        "tf.function(lambda: tf.linalg.matmul(x, x) + tf.linalg.matmul(x, 2 * x))()\n"
        "print(psutil.Process().num_threads())"
    )
    counts = []
    for threads in ("1", "9"):
        settings = {name: threads for name in thread_settings(1)}
        run = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        counts.append(int(run.stdout))
    assert counts[1] - counts[0] >= 8


def test_a_sweep_runs_on_a_scheduler_and_workers_of_their_own(start, scheduler, tmp_path, tflite):
    sweep = Sweep(tmp_path, tflite, [0.2, 0.4])
    for _ in range(2):
        join(start, scheduler, env=environment(sweep.notebooks))
    code, out, complaint = sweep.run(KOPT_SCHEDULER=scheduler)
    assert code == 0, complaint
    assert sweep.table().status.tolist() == ["finished"] * 2
    assert "report: " in out


def test_a_scheduler_without_workers_is_told_so(scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "WORKERS_SECONDS", 0.5)
    with (
        pytest.raises(ClusterError, match=f"has no workers .*dask worker {scheduler}"),
        open_cluster(scheduler),
    ):
        pass


def test_a_worker_that_runs_several_tasks_at_once_is_refused(start, scheduler):
    join(start, scheduler, threads=2)
    with pytest.raises(ClusterError, match="runs 2 tasks at once"), open_cluster(scheduler):
        pass


def test_a_worker_with_another_kopt_is_refused(start, scheduler, tmp_path):
    shutil.copytree(ROOT / "kopt", tmp_path / "kopt")
    (tmp_path / "kopt/data.py").write_text("another = True")
    elsewhere = os.environ | {"PYTHONPATH": str(tmp_path)}
    join(start, scheduler, env=elsewhere, cwd=tmp_path)
    with (
        pytest.raises(ClusterError, match=r"has kopt .* where this process has 0"),
        open_cluster(scheduler),
    ):
        pass


@pytest.fixture(params=[b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "web server"])
def stranger(request):
    """A port where something listens that is no scheduler."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def answer():
            accepted.append(listening.accept()[0])
            accepted[0].sendall(request.param)

        accepted = []
        answering = Thread(target=answer)
        answering.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        answering.join()
        accepted[0].close()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no-such-host.invalid:8786", "ftp://a:1"])
def test_a_scheduler_that_is_not_there_ends_with_a_line(address, tmp_path, capsys):
    check_refused(address, tmp_path, capsys)


def test_a_port_that_is_no_schedulers_ends_with_a_line(stranger, tmp_path, capsys):
    check_refused(stranger, tmp_path, capsys)


def check_refused(address, tmp_path, capsys):
    (tmp_path / "grid.yaml").write_text("seed: [0, 1]")
    folder = tmp_path / "sweep"
    with pytest.raises(SystemExit) as ended:
        main(["sweep", f"{tmp_path}/grid.yaml", "--run-dir", str(folder), "--scheduler", address])
    complaint = capsys.readouterr().err
    assert ended.value.code == 2
    assert complaint.startswith(f"kopt: {address} does not answer as a scheduler within 5 s")
    assert len(complaint.splitlines()) == 1
    assert not folder.exists()


def test_workers_of_its_own_and_a_scheduler_exclude_each_other(tmp_path, capsys):
    command = ["sweep", str(tmp_path / "grid.yaml"), "--scheduler", "tcp://far:1"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--workers", "2"])
    assert ended.value.code == 2
    assert "--workers 2 is for a local cluster" in capsys.readouterr().err


class Blind:
    """A client of workers that see nothing of this machine's files."""

    def run(self, function):
        return {"tcp://far:1": False}


def test_a_directory_that_a_worker_does_not_see_is_refused(tmp_path):
    with pytest.raises(ClusterError, match=r"tcp://far:1 does not see .*storage that"):
        check_storage(Blind(), tmp_path / "sweeps/new")
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written_is_refused_before():
    with pytest.raises(WorkspaceError, match="/proc/sweep cannot be written"):
        check_storage(Blind(), cluster.Path("/proc/sweep"))
