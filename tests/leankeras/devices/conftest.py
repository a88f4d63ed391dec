"""An ssh server on loopback, with keys, configuration and a PATH of its own."""

import getpass
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from leankeras.devices import deployment

SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
NO_WAIT = 0.05


@dataclass(frozen=True)
class Server:
    """The server as a test sees it."""

    folder: Path
    port: int
    path: Path

    def target(self, directory: str | Path) -> str:
        return f"{getpass.getuser()}@loopback:{directory}"

    def python(self, *lines: str) -> None:
        """Have the host's python3 start after these lines of shell."""
        script(self.path / "python3", *lines, f'exec {sys.executable} "$@"')


def script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def make_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_name(f"{path.name}.pub").read_text()


@pytest.fixture(scope="session")
def sshd(tmp_path_factory):
    """A running server and an ``ssh`` that knows it as "loopback"; both end with the tests."""
    found = shutil.which("sshd", path=SBIN)
    if not found or not shutil.which("ssh"):
        pytest.skip("openssh-server or openssh-client is not installed")
    folder, path = tmp_path_factory.mktemp("sshd"), tmp_path_factory.mktemp("path")
    port = free_port()
    host_key, own_key = make_key(folder / "host"), make_key(folder / "own")
    (folder / "authorized").write_text(own_key)
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host_key}")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's server shuts itself in
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
        # a home of its own, whose shell has no start-up file that sets PATH again
        f"SetEnv PATH={path}:/usr/bin:/bin HOME={path}\n"
    )
    (folder / "ssh_config").write_text(
        f"Host loopback\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {folder}/own\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n"
        f"  GlobalKnownHostsFile /dev/null\n"
    )
    client = tmp_path_factory.mktemp("client")
    script(client / "ssh", f'exec {shutil.which("ssh")} -F {folder}/ssh_config "$@"')
    server = subprocess.Popen([found, "-D", "-E", folder / "log", "-f", folder / "sshd_config"])
    try:
        wait_for(port, server, folder / "log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{client}{os.pathsep}{os.environ['PATH']}")
            yield Server(folder, port, path)
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int, server: subprocess.Popen, log: Path) -> None:
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(NO_WAIT)
    pytest.fail(f"sshd does not start: {log.read_text()}")


@pytest.fixture
def host(sshd, monkeypatch):
    """The server with a Python that has LiteRT, and measurements that take no time."""
    monkeypatch.setattr(deployment, "SECONDS", 0.01)
    sshd.python()
    return sshd
