"""A program on another machine, through the system's own ssh and its keys."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leankeras.errors import DeviceError, ParameterError

AGENT = Path(__file__).with_name("agent.py")  # not imported: it is for Linux, this may be Windows
PREFIX = b"leankeras "  # of its answers
CONNECT_SECONDS = 10
FAILED = 255  # ssh's own exit code; others are the program's
NO_PROGRAM = (126, 127)
# no word that ssh could take for an option
TARGET = re.compile(
    r"(?P<host>(?:[^\s:@\-][^\s:@]*@)?(?:[^\s:@\[\-][^\s:@]*|\[[0-9A-Fa-f:.]+\])):(?P<directory>.+)"
)


@dataclass(frozen=True)
class Target:
    """A directory on a host.

    Attributes:
        host: as ssh takes it: ``user@host``, or a name in its configuration.
        directory: absolute, or relative to the user's home.
    """

    host: str
    directory: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read ``user@host:directory``.

        Raises:
            ParameterError: it is not of that form.
        """
        match = TARGET.fullmatch(text)
        if not match:
            raise ParameterError(f"target: saw {text!r}; expected USER@HOST:DIRECTORY")
        return cls(match["host"].replace("[", "").replace("]", ""), match["directory"])

    def __str__(self) -> str:
        return f"{self.host}:{self.directory}"


class Session:
    """A conversation with the agent on a host; leaving it ends the agent.

    Args:
        target: where.
        action: what the agent is to do: "deploy", "install" or "rollback".

    Raises:
        DeviceError: there is no ssh on this machine.
    """

    def __init__(self, target: Target, action: str) -> None:
        if not shutil.which("ssh"):
            raise DeviceError("no ssh on this machine; install the OpenSSH client")
        self.target = target
        text = AGENT.read_text(encoding="utf-8")
        command = shlex.join(["python3", "-c", text, action, target.directory])
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": CONNECT_SECONDS,
            "ServerAliveInterval": 5,
            "ServerAliveCountMax": 3,
        }
        listed = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed on leaving)
        self._process = subprocess.Popen(
            ["ssh", "-T", *listed, "--", target.host, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # of what was still to be sent
            self._process.stdin.close()
        self._process.stdout.close()
        self._complaints.close()

    def send(self, content: bytes) -> None:
        """Send bytes; if the other side has left, the next :meth:`hear` says why."""
        try:
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def order(self, **values: Any) -> None:
        """Send a line of JSON."""
        self.send(json.dumps(values).encode() + b"\n")

    def hear(self, *steps: str) -> dict[str, Any]:
        """Wait until the agent reports one of these steps.

        Raises:
            DeviceError: it refused, or the connection ended.
        """
        for line in self._process.stdout:  # a login script may print lines of its own
            if line.startswith(PREFIX):
                said = json.loads(line[len(PREFIX) :])
                if "error" in said:
                    raise DeviceError(f"{self.target.host}: {said['error']}")
                if said["step"] in steps:
                    return said
        raise DeviceError(f"{self.target.host}: {self._end()}")

    def _end(self) -> str:
        """Why there is no more to hear."""
        code = self._process.wait()
        self._complaints.seek(0)
        text = self._complaints.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if "IDENTIFICATION HAS CHANGED" in text:
            return (
                "its host key has changed; if you know why, remove the old key with ssh-keygen -R, "
                "otherwise it may be another machine"
            )
        if code in NO_PROGRAM:
            return "no python3 there; install Python 3.10 or newer"
        said = lines[-1][:200] if lines else "no reason given"
        if code == FAILED:
            return f"ssh cannot connect or lost the connection ({said})"
        return f"the connection ended ({said})"
