import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from leankeras.devices import agent, deploy, rollback, ssh
from leankeras.devices.ssh import Session
from leankeras.errors import DataError, DeviceError, KoptError, ModelError, ParameterError
from tests.leankeras.devices.conftest import free_port, make_key


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def serving(directory):
    """The digest of the file that a service there would open; it has to be whole."""
    served = digest(directory / "current" / "model.tflite")
    assert served == (directory / "current").resolve().name
    return served


def tree(folder):
    """Everything in a folder, with its content."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


@pytest.fixture
def ship(host, converted, samples):
    """Deploy the file of a mode to a directory."""

    def deploy_to(directory, mode="int8-io", **options):
        slow = converted["float32"].path
        return deploy(converted[mode].path, host.target(directory), samples, slow=slow, **options)

    return deploy_to


@pytest.fixture
def device(ship, tmp_path):
    """A directory with a file that serves; its name needs quoting."""
    directory = tmp_path / "it's a $(touch x) device"
    ship(directory, "float32")
    return directory


def test_a_file_is_shipped_tried_switched_to_and_rolled_back(ship, host, converted, tmp_path):
    directory = tmp_path / "new" / "models"
    old, new = (digest(converted[mode].path) for mode in ("float32", "int8-io"))
    first = ship(directory, "float32")
    assert (first.digest, first.replaced, first.changed) == (old, None, True)
    assert serving(directory) == old
    second = ship(directory)
    assert (second.digest, second.replaced) == (new, old)
    assert serving(directory) == new
    assert all(each.equal for each in second.agreement)
    assert 0 < second.ratio[1] <= second.ratio[0] <= second.ratio[2]
    back = rollback(host.target(directory))
    assert (back.digest, back.replaced) == (old, new)
    assert serving(directory) == old
    with pytest.raises(DeviceError, match="no file served before this one"):
        rollback(host.target(directory))
    log = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    assert [(e["action"], e["digest"], e["replaced"]) for e in log] == [
        ("deploy", old, None),
        ("deploy", new, old),
        ("rollback", old, new),
    ]
    assert log[1]["from"].endswith(str(converted["int8-io"].path))


def test_the_file_that_serves_already_is_tried_again_and_stays(ship, device):
    before = (device / "log.jsonl").read_bytes()
    assert not ship(device, "float32").changed
    assert (device / "log.jsonl").read_bytes() == before
    serving(device)


def test_nothing_in_a_directorys_name_is_run(device):
    assert not (device.parent / "x").exists()
    assert {path.name for path in device.parent.iterdir()} == {device.name}


def refused(call, directory, message):
    """The call fails with this line and changes nothing."""
    before = tree(directory)
    with pytest.raises(KoptError, match=message) as failed:
        call()
    assert len(str(failed.value).splitlines()) == 1
    # the other end notices a moment later that nobody listens any more
    wait_until(lambda: tree(directory) == before, lambda: tree(directory).keys() ^ before.keys())


def wait_until(condition, seen=str):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail(f"it never happened: {seen()}")


def test_a_file_that_arrives_damaged_is_not_switched_to(ship, device, monkeypatch):
    def torn(self, content):
        damaged = content[:-1] + bytes([content[-1] ^ 1]) if len(content) > 1000 else content
        send(self, damaged)

    send = Session.send
    monkeypatch.setattr(Session, "send", torn)
    refused(lambda: ship(device), device, "arrived with another digest")


def test_a_file_that_answers_otherwise_is_not_switched_to(
    ship, device, host, converted, samples, monkeypatch
):
    def other(file, given, **options):
        vectors = make(file, given, **options)
        for array in vectors.outputs.values():
            array.flat[-1] += 1
        return vectors

    from leankeras.devices import deployment

    make = deployment.make_vectors
    monkeypatch.setattr(deployment, "make_vectors", other)
    refused(lambda: ship(device), device, r"other answers than here: .*1 of \d+ values differ")


def test_a_full_disk_leaves_the_old_file(ship, device, host):
    # files may have as many bytes as a third of the model, in blocks of 512
    host.python("ulimit -f 8")
    refused(lambda: ship(device), device, "File too large")


def test_a_full_file_system_leaves_the_old_file(ship, device, tmp_path, converted):
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    room = tmp_path / "room"
    room.mkdir()
    size = 3 * converted["float32"].path.stat().st_size
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", room])
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copytree(device, room / "models", symlinks=True)
        refused(lambda: ship(room / "models"), room / "models", "No space left on device")
        serving(room / "models")
    finally:
        subprocess.run(["umount", "--lazy", room], check=True)


def test_a_file_that_crashes_the_runtime_there_is_not_switched_to(ship, device):
    code = f'case "$1" in *trial.py) kill -SEGV $$;; esac\nexec {sys.executable} "$@"'
    fake = device.parent / "crashing"
    fake.write_text(f"#!/bin/sh\n{code}\n")
    fake.chmod(0o755)
    (device / "python" / "bin").mkdir(parents=True)
    (device / "python" / "bin" / "python").symlink_to(fake)
    refused(lambda: ship(device), device, "does not run there: signal 11")


def test_a_host_without_python_or_runtime_is_left_alone(ship, device, host):
    script = host.path / "python3"
    script.write_text("#!/bin/sh\nexit 127\n")
    refused(lambda: ship(device), device, "no python3 there")
    (host.path / "ai_edge_litert.py").write_text("raise ImportError")
    host.python(f"export PYTHONPATH={host.path}")
    refused(lambda: ship(device), device, "no numpy and ai-edge-litert .* repeat with --install")
    new = device.parent / "not there"
    with pytest.raises(DeviceError, match="repeat with --install"):
        ship(new)
    assert not new.exists()


def test_a_runtime_that_cannot_be_installed_leaves_nothing_behind(ship, device, host):
    (host.path / "ai_edge_litert.py").write_text("raise ImportError")
    nowhere = "export PIP_INDEX_URL=http://127.0.0.1:9 PIP_RETRIES=0 PIP_NO_CACHE_DIR=1"
    host.python(f"export PYTHONPATH={host.path}", nowhere)
    said = []
    refused(
        lambda: ship(device, install=True, say=said.append), device, "runtime cannot be installed"
    )
    (host.path / "ai_edge_litert.py").unlink()


def test_a_host_key_that_changed_ends_it(ship, device, host, tmp_path):
    known = host.folder / "known"
    real = known.read_text()
    known.write_text(f"[127.0.0.1]:{host.port} {make_key(tmp_path / 'other')}")
    try:
        before = tree(device)
        with pytest.raises(DeviceError, match="its host key has changed"):
            ship(device)
        assert tree(device) == before
    finally:
        known.write_text(real)


def test_a_host_that_does_not_answer_ends_it_in_time(converted, samples, monkeypatch):
    if not shutil.which("ssh"):
        pytest.skip("openssh-client is not installed")
    monkeypatch.setattr(ssh, "CONNECT_SECONDS", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", free_port()))
        silent.listen()
        port = silent.getsockname()[1]
        folder = converted["int8"].path.parent
        (folder / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F /dev/null -p {port} "$@"\n')
        (folder / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        with pytest.raises(DeviceError, match=r"127\.0\.0\.1: ssh cannot connect") as failed:
            rollback("127.0.0.1:models")
    assert len(str(failed.value).splitlines()) == 1


def test_a_directory_with_other_files_is_left_alone(ship, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"x")
    refused(lambda: ship(tmp_path / "photos"), tmp_path, "has other files in it .one.jpg")
    refused(lambda: ship(tmp_path / "photos" / "one.jpg"), tmp_path, "no such directory")


def test_rolling_back_where_nothing_is_makes_nothing(host, tmp_path):
    refused(lambda: rollback(host.target(tmp_path / "none")), tmp_path, "nothing was ever deployed")
    refused(lambda: rollback(host.target(tmp_path)), tmp_path, "nothing was ever deployed")


def test_a_damaged_earlier_file_is_not_rolled_back_to(ship, device, host):
    old = (device / "current").resolve()
    ship(device)
    (old / "model.tflite").write_bytes(b"damaged")
    refused(lambda: rollback(host.target(device)), device, "missing or damaged")


def test_two_deployments_to_one_directory_do_not_meet(ship, device, host):
    with Session(ssh.Target.parse(host.target(device)), "deploy") as busy:
        busy.hear("ready")
        wait_until((device / ".incoming").exists)  # it waits for the files now
        refused(lambda: ship(device), device, "another deployment to .* is running")


@pytest.mark.parametrize(
    "target", ["", "host", "host:", ":dir", "-oProxyCommand=x:dir", "a b:dir", "me@-x:dir"]
)
def test_a_target_that_is_none_is_refused(target, converted, samples):
    with pytest.raises(ParameterError, match="expected USER@HOST:DIRECTORY"):
        deploy(converted["int8"].path, target, samples, slow=converted["float32"].path)


def test_samples_of_another_shape_are_refused_before_anything(host, converted, tmp_path):
    with pytest.raises(DataError, match="has shape"):
        deploy(
            converted["int8"].path, host.target(tmp_path / "new"), np.zeros((2, 3)),
            slow=converted["float32"].path,
        )  # fmt: skip
    with pytest.raises(ModelError, match="no such file"):
        deploy(tmp_path / "none.tflite", host.target(tmp_path / "new"), np.zeros((2, 3)), slow="x")
    assert not list(tmp_path.iterdir())


SHIP = """
import sys
import numpy as np
from leankeras.devices import deploy, deployment

deployment.SECONDS = 0.01
file, target, slow = sys.argv[1:]
print("ready", flush=True)
samples = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(-1, 16, 2)
deploy(file, target, samples, slow=slow)
"""
MOMENTS = 20


def start(host, converted, samples, device):
    """A deployment in a process of its own, about to begin."""
    run = subprocess.Popen(
        [sys.executable, "-c", SHIP, converted["int8-io"].path, host.target(device),
         converted["float32"].path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    run.stdin.write(samples.tobytes())
    run.stdin.close()
    assert run.stdout.readline() == b"ready\n"
    return run


def agents(device):
    """The processes that deploy to a directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(device) in words and any(agent.MARKER in word for word in words):
            found += [process]
    return found


def test_killed_at_any_moment_the_device_has_one_of_the_files_whole(
    host, ship, device, converted, samples
):
    old, new = (digest(converted[mode].path) for mode in ("float32", "int8-io"))
    began = time.monotonic()
    with start(host, converted, samples, device) as run:
        assert run.wait() == 0
    whole = time.monotonic() - began
    assert serving(device) == new
    seen = set()
    for moment in range(MOMENTS):
        if serving(device) == new:
            rollback(host.target(device))
        began = time.monotonic()
        with start(host, converted, samples, device) as run:
            time.sleep(max(0, whole * (moment + 0.5) / MOMENTS - (time.monotonic() - began)))
            for process in agents(device) if moment % 2 else ():
                process.kill()
            os.killpg(run.pid, signal.SIGKILL)
        wait_until(lambda: not agents(device))
        seen.add(serving(device))
    assert seen <= {old, new}
    assert ship(device).digest == serving(device) == new  # and it is as usable as before
