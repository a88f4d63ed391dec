"""The folder that MLServer starts from: the file and two settings files."""

import json
import math
import socket
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from leankeras.errors import MissingPackageError, ParameterError
from leankeras.files import copy, remove, write_atomically, write_text
from leankeras.serving.engine import Engine, open_engine
from leankeras.serving.tensors import MOST_SAMPLES

CHARACTERS = 25  # of a number in JSON, with its comma
MOST_BYTES = 64_000_000  # of a request, unless one sample has more
PORTS = range(1, 65536)


@dataclass(frozen=True)
class Serving:
    """How a file is served.

    Attributes:
        host: the address to listen at; the default is for this machine alone.
        port: for HTTP.
        grpc_port: for gRPC.
        metrics_port: for Prometheus; by default the one after the larger of the others.
        batch_size: the largest number of samples that are run together; 1 for no batching.
        batch_ms: milliseconds that the first request of a batch waits for others.
        cache: answers to keep; 0 for none.
        workers: processes that run the file; 0 to run it in the server's own.
        threads: CPU threads of each.

    Raises:
        ParameterError: a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 8081
    metrics_port: int | None = None
    batch_size: int = 32
    batch_ms: float = 0.0
    cache: int = 0
    workers: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.metrics_port is None:
            object.__setattr__(self, "metrics_port", max(self.port, self.grpc_port) + 1)
        ports = (self.port, self.grpc_port, self.metrics_port)
        checks = {
            "batch_size": (range(1, MOST_SAMPLES + 1), f"an integer from 1 to {MOST_SAMPLES}"),
            "cache": (range(10**9), "a number of answers, 0 or more"),
            "workers": (range(65), "an integer from 0 to 64"),
            "threads": (range(1, 257), "an integer from 1 to 256"),
        }
        for name, (allowed, expected) in checks.items():
            if getattr(self, name) not in allowed:
                raise ParameterError(f"{name}: saw {getattr(self, name)}; expected {expected}")
        if not 0 <= self.batch_ms <= 1000:  # NaN is not either
            raise ParameterError(f"batch_ms: saw {self.batch_ms}; expected 0 to 1000 milliseconds")
        if not set(ports) <= set(PORTS) or len(set(ports)) < len(ports):
            raise ParameterError(f"ports: saw {ports}; expected three different ones up to 65535")

    @property
    def is_public(self) -> bool:
        """Whether other machines may be able to call it."""
        return self.host not in ("127.0.0.1", "::1", "localhost")

    def check_ports(self) -> None:
        """Refuse ports that are in use.

        Raises:
            ParameterError: names the port.
        """
        for port in (self.port, self.grpc_port, self.metrics_port):
            with closing(socket.socket()) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    tried.bind((self.host, port))
                except OSError as error:
                    raise ParameterError(
                        f"{self.host}:{port} cannot be used ({error.strerror or error}); choose "
                        "another port or host"
                    ) from error


def check_extra(*needed: str) -> None:
    """Refuse to go on without the packages of the extra ``serve``.

    Raises:
        MissingPackageError: says which command installs them.
    """
    for package in needed:
        if find_spec(package) is None:
            raise MissingPackageError(
                f"serving needs {package}, which is not installed; run uv sync --extra serve, or "
                "pip install 'leankeras[serve]'"
            )


def write_folder(
    file: str | Path, folder: str | Path, serving: Serving | None = None, name: str = "model"
) -> Path:
    """Write a folder that ``mlserver start FOLDER`` serves a file from.

    Args:
        file: a ``.tflite``, or the directory of a SavedModel; it is copied.
        folder: the folder; an older one is replaced.
        serving: how it is served; by default, as :class:`Serving` has it.
        name: the model's name in the URL.

    Returns:
        The folder.

    Raises:
        ModelError: the file cannot be served.
        ParameterError: the folder cannot be written.

    Example:
        >>> write_folder("final.tflite", "serve")  # then: mlserver start serve
    """
    file, folder, serving = Path(file), Path(folder), serving or Serving()
    engine = open_engine(file, serving.threads)
    model = "model" if file.is_dir() else "model.tflite"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"{folder} cannot be written ({error.strerror})") from error
    remove(folder / ({"model", "model.tflite"} - {model}).pop())
    write_atomically(folder / model, partial(copy, file), ParameterError)
    contents = {
        "model-settings.json": _model_settings(name, model, serving),
        "settings.json": _settings(serving, _most_bytes(engine)),
    }
    for path, values in contents.items():
        write_text(folder / path, json.dumps(values, indent=1) + "\n", ParameterError)
    return folder


def _model_settings(name: str, model: str, serving: Serving) -> dict:
    return {
        "name": name,
        "implementation": "leankeras.serving.ServedModel",
        "max_batch_size": serving.batch_size,
        "max_batch_time": serving.batch_ms / 1000,
        "parameters": {
            "uri": f"./{model}",
            "extra": {
                "cache": serving.cache, "workers": serving.workers, "threads": serving.threads
            },
        },
    }  # fmt: skip


def _settings(serving: Serving, most_bytes: int) -> dict:
    return {
        "host": serving.host,
        "http_port": serving.port,
        "grpc_port": serving.grpc_port,
        "metrics_port": serving.metrics_port,
        "grpc_max_message_length": most_bytes,  # of an HTTP body, too
        "model_repository_implementation": "leankeras.serving.Repository",
        "parallel_workers": 0,  # the runtime has its own, which can be killed without loss
        "gzip_enabled": False,
        "debug": False,
    }


def _most_bytes(engine: Engine) -> int:
    sides = (engine.inputs, engine.outputs)
    sample = CHARACTERS * max(sum(math.prod(each.shape) for each in side) for side in sides)
    return 100_000 + max(sample, min(MOST_SAMPLES * sample, MOST_BYTES))
