"""Locks of a run and of a stage at work in it, and what killed ones leave behind."""

import multiprocessing
import os
import shutil
import subprocess
import threading

import keras
import pytest

from kopt.errors import WorkspaceError
from kopt.workspace import directory
from kopt.workspace.directory import OWNER, Workspace
from leankeras.claim import NamedLock
from leankeras.errors import KoptError
from leankeras.files import write_atomically
from tests.kopt.workspace.holding import PATIENCE, hold, write_limited

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold a lock until they are killed."""
    processes = []

    def start(lock, name):
        ready = spawn.Event()
        process = spawn.Process(target=hold, args=(tmp_path / lock, name, ready))
        process.start()
        processes.append(process)
        assert ready.wait(PATIENCE)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_a_lock_names_its_holder_and_is_given_back_when_that_is_killed(holder, tmp_path):
    process = holder(".lock", "03_prune")
    lock = NamedLock(tmp_path / ".lock")
    assert lock.acquire("04_distil") == f"03_prune (process {process.pid})"
    assert not lock.held
    process.kill()
    process.join()
    assert lock.acquire("04_distil") is None
    assert lock.held
    assert lock.holder() == f"04_distil (process {os.getpid()})"
    lock.release()


def test_a_kernel_that_outlives_its_run_is_waited_for(holder, tmp_path, monkeypatch):
    orphan = holder(".stage-lock", "03_prune")
    monkeypatch.setattr(directory, "ORPHAN_SECONDS", 0.5)
    for writer in ("kopt run", "03_prune"):
        with pytest.raises(WorkspaceError, match=rf"still being written by .*{orphan.pid}"):
            Workspace(tmp_path).claim("signal", writer)
    monkeypatch.setattr(directory, "ORPHAN_SECONDS", 60)
    threading.Timer(1, orphan.kill).start()
    Workspace(tmp_path).claim("signal", "kopt run")
    Workspace(tmp_path).release()


def test_a_kernel_whose_run_was_replaced_may_not_write(holder, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    workspace.claim("signal", "kopt run")
    monkeypatch.setenv(OWNER, workspace.ownership)
    workspace.release()
    holder(".lock", "kopt run")
    with pytest.raises(WorkspaceError, match="is being written by kopt run"):
        workspace.claim("signal", "03_prune")


def test_a_kernel_that_loses_its_run_while_it_waits_may_not_write(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    workspace.claim("signal", "kopt run")
    monkeypatch.setenv(OWNER, workspace.ownership)
    acquire = NamedLock.acquire

    def late(lock, name, patience=0):
        (tmp_path / ".lock.holder").write_text("kopt run (process 1)")
        return acquire(lock, name, patience)

    monkeypatch.setattr(NamedLock, "acquire", late)
    with pytest.raises(WorkspaceError, match=r"taken over by kopt run \(process 1\)"):
        workspace.claim("signal", "03_prune")


def test_a_claim_removes_what_a_killed_writer_left_and_nothing_else(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.claim("signal", "01_profile")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    kept = [
        workspace.models / "02_rewrite.keras",
        scratch / "01_profile-float32.tflite",
        workspace.running_notebook("02_rewrite"),
    ]
    torn = [
        workspace.models / ".17-02_rewrite.keras",
        tmp_path / "records/.17-02_rewrite.json",
        tmp_path / ".17-case.json",
        scratch / "03_prune-zeros.tflite",
        scratch / ".03_prune-zeros.tflite.17",
        workspace.running_notebook("03_prune"),
    ]
    for path in kept + torn:
        path.write_text("half")
    (workspace.models / ".17-05_qat/variables").mkdir(parents=True)
    workspace.release()
    workspace.claim("signal", "03_prune")
    workspace.release()
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in torn)
    assert not (workspace.models / ".17-05_qat").exists()


def test_running_the_first_cell_again_removes_nothing(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.claim("signal", "03_prune")
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/03_prune-zeros.tflite").write_text("measured")
    workspace.claim("signal", "03_prune")
    assert (tmp_path / "scratch/03_prune-zeros.tflite").exists()
    workspace.release()


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX's")
@pytest.mark.parametrize(
    ("size", "said"), [(5_000, "cannot be written (File too large)"), (20_000, "written")]
)
def test_what_does_not_fit_leaves_the_old_file_whole(tmp_path, size, said):
    path, told = tmp_path / "model.tflite", spawn.SimpleQueue()
    path.write_text("old")
    process = spawn.Process(target=write_limited, args=(path, size, told))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert said in told.get()
    assert path.read_bytes() == (b"old" if "cannot" in said else bytes(10_000))
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB of its own, where this process may mount one."""
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_model_that_fills_the_disk_leaves_the_old_one_whole(small_disk, small_model):
    path = small_disk / "01_profile.keras"
    write_atomically(path, small_model.save)
    before = path.read_bytes()
    large = keras.Sequential([keras.Input((100,)), keras.layers.Dense(2000)])
    with pytest.raises(KoptError, match=r"cannot be written \(No space left on device"):
        write_atomically(path, large.save)
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path]


def test_a_full_disk_refuses_a_claim_and_holds_no_lock(small_disk):
    workspace = Workspace(small_disk / "run")
    workspace.claim("signal", "kopt run")
    workspace.release()
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(bytes(400_000))
    with pytest.raises(WorkspaceError, match=r"cannot be written \(No space left on device\)"):
        Workspace(small_disk / "run2").claim("signal", "kopt run")
    (small_disk / "ballast").unlink()
    Workspace(small_disk / "run2").claim("signal", "kopt run")
    Workspace(small_disk / "run2").release()


def test_a_read_only_directory_is_refused_in_a_line(small_disk):
    Workspace(small_disk / "run").claim("signal", "kopt run")
    Workspace(small_disk / "run").release()
    remount = ["mount", "-o", "remount,{},size=300k", str(small_disk)]
    subprocess.run([part.format("ro") for part in remount], check=True)
    for path in (small_disk / "run", small_disk / "new"):
        with pytest.raises(WorkspaceError, match=r"cannot be written \(Read-only file system\)"):
            Workspace(path).claim("signal", "kopt run")
