"""A server in a process of its own, for as long as it is needed."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError
from urllib.request import urlopen

from leankeras.child import package_environment
from leankeras.errors import KoptError
from leankeras.serving.engine import open_engine
from leankeras.serving.folder import Serving, check_extra, write_folder

START_SECONDS = 120
STOP_SECONDS = 30
ATTENDED = (sys.executable, "-P", "-m", "leankeras.serving.attended")


class ServerError(KoptError):
    """A server that does not start, or does not answer."""


def free_ports(count: int = 3) -> list[int]:
    """Ports that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def serve(
    file: str | Path,
    folder: str | Path,
    serving: Serving,
    name: str,
    say: Callable[[str], None],
) -> NoReturn:
    """Write a folder to serve a file from, and turn this process into the server.

    Args:
        file: a ``.tflite``, or the directory of a SavedModel.
        folder: see :func:`write_folder`.
        serving: how it is served.
        name: the model's name in the URL.
        say: receives where it listens.

    Raises:
        MissingPackageError: MLServer is not installed.
        ModelError: the file cannot be served.
        ParameterError: a port is in use, or the folder cannot be written.
    """
    check_extra("mlserver")
    serving.check_ports()
    folder = write_folder(file, folder, serving, name)
    at = Addresses.of(serving, name)
    if serving.is_public:
        say(f"{serving.host} may be reached from other machines, and nothing checks who calls")
    say(f"{folder} can be started again with: mlserver start {folder}")
    say(f"HTTP: {at.url}\ngRPC: {at.grpc}\nmetrics: {at.metrics}\nCtrl-C ends it")
    sys.stdout.flush()
    command = [sys.executable, "-P", "-c", "from mlserver.cli import main; main()", "start"]
    os.execve(sys.executable, [*command, str(folder)], package_environment())


@dataclass(frozen=True)
class Addresses:
    """Where a server listens.

    Attributes:
        url: of the model's inference, for HTTP.
        grpc: host and port.
        metrics: the URL for Prometheus.
        name: of the model.
    """

    url: str
    grpc: str
    metrics: str
    name: str

    @classmethod
    def of(cls, serving: Serving, name: str) -> "Addresses":
        """The addresses of a server that has been told to serve in this way."""
        host = serving.host
        return cls(
            f"http://{host}:{serving.port}/v2/models/{name}/infer",
            f"{host}:{serving.grpc_port}",
            f"http://{host}:{serving.metrics_port}/metrics",
            name,
        )

    @property
    def live(self) -> str:
        """The URL of a page that needs no work."""
        return f"{self.url.partition('/v2/')[0]}/v2/health/live"

    @property
    def ready(self) -> str:
        """The URL that answers with status 200 once the model is there."""
        return self.url.removesuffix("infer") + "ready"


class Server:
    """A file served on free ports of this machine, as a context.

    Args:
        file: a ``.tflite``, or the directory of a SavedModel.
        serving: how it is served; host and ports are chosen.

    Attributes:
        at: its :class:`Addresses`.
        engine: the file in this process, to compare with.
        process: the server's process.

    Raises:
        MissingPackageError: MLServer is not installed.
        ServerError: it does not start.

    Example:
        >>> with Server("final.tflite", Serving(batch_size=8)) as server:
        ...     load_test(server, x_test, users=8)
    """

    def __init__(self, file: str | Path, serving: Serving | None = None) -> None:
        check_extra("mlserver")
        port, grpc_port, metrics_port = free_ports()
        self.serving = replace(
            serving or Serving(),
            host="127.0.0.1",
            port=port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
        )
        self.at = Addresses.of(self.serving, "model")
        self.engine = open_engine(Path(file))
        self._file = file

    def __enter__(self) -> "Server":
        self._scratch = tempfile.TemporaryDirectory()
        self.folder = write_folder(self._file, Path(self._scratch.name, "serve"), self.serving)
        self._log = Path(self._scratch.name, "log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*ATTENDED, "start", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=package_environment(),
                cwd=self._scratch.name,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._scratch.cleanup()

    def stop(self) -> int:
        """End it as Kubernetes would: it answers what it has begun; then its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.stdin.close()
        return self.process.wait()

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready(self.at):
            if self.process.poll() is not None or time.monotonic() > deadline:
                last = self.log.strip().splitlines()[-1:] or ["it printed nothing"]
                raise ServerError(f"the server does not start: {last[0]:.300}")
            time.sleep(0.05)


def is_ready(at: Addresses) -> bool:
    """Whether a server has loaded its model.

    ``/v2/health/ready`` cannot tell: MLServer says yes as long as it knows of no model.
    """
    try:
        with urlopen(at.ready, timeout=5) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False
