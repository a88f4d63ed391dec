"""The child process that conversions run in, kept warm and replaced when it dies.

The converter is C++ that can crash, and importing TensorFlow costs seconds. One child therefore
serves all requests of this process, and its death is an error message here and nothing more.

Requests and answers are lines of JSON over the child's standard input and output; data lies in
files. What TensorFlow prints goes to a log that is read only to explain a death.
"""

import atexit
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from kopt.errors import ConversionError

TIMEOUT_SECONDS = 900
JOBS = "kopt.deployment.jobs"
NOISE = re.compile(r"INFO|WARNING|[IW]\d{4} |fully_quantize")
PACKAGE_ROOT = Path(__file__).parents[2]


class JobError(Exception):
    """A job raised; the text is that of the exception in the child."""


class Worker:
    """One child process, started at the first need.

    Args:
        timeout: seconds a job may take before the child is killed.

    Example:
        >>> with Worker() as worker:
        ...     worker.request("describe", directory="exported")
    """

    def __init__(self, timeout: float = TIMEOUT_SECONDS) -> None:
        self.timeout = timeout
        self.process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self) -> None:
        """Start the child unless it runs, without waiting for it."""
        with self._lock:
            self._start()

    def request(self, job: str, **arguments: Any) -> Any:
        """Have the child run a function of :mod:`kopt.deployment.jobs`.

        Args:
            job: the function's name.
            arguments: its arguments, as JSON can hold them.

        Returns:
            The function's result, as JSON can hold it.

        Raises:
            JobError: the function raised.
            ConversionError: the child died or took too long. The next request starts a new one.
        """
        with self._lock:
            self._start()
            try:
                answer = self._ask(json.dumps({"job": job, "arguments": arguments}))
            except BaseException:
                # After Ctrl-C the child is still at work on a request nobody waits for.
                self._stop()
                raise
        if "error" in answer:
            raise JobError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Kill the child."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                return
            self._stop()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        search_path = os.pathsep.join(
            filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")])
        )
        # -P: a json.py or keras.py in the user's directory must not shadow the real one. The
        # session of its own keeps a Ctrl-C meant for this process away from the child.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kopt.deployment.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                **os.environ,
                "PYTHONPATH": search_path,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "KERAS_BACKEND": "tensorflow",
                "CUDA_VISIBLE_DEVICES": "-1",
            },
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(
            target=_forward, args=(self.process.stdout, self._answers), daemon=True
        ).start()

    def _ask(self, line: str) -> dict:
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self._answers.get(timeout=self.timeout)
        except BrokenPipeError:
            answer = None
        except queue.Empty:
            raise ConversionError(
                f"the converter took longer than {self.timeout:g} s and was stopped; try a smaller "
                "model or fewer calibration samples"
            ) from None
        if answer is None:
            raise ConversionError(self._death())
        return json.loads(answer)

    def _death(self) -> str:
        code = self.process.wait()
        self._log.seek(0)
        log = self._log.read().decode(errors="replace").splitlines()
        lines = [line.strip() for line in log if line.strip() and not NOISE.match(line)]
        last = f"; its last words: {lines[-1][:300]}" if lines else ""
        if code < 0:
            cause = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        else:
            cause = f"ended with exit code {code}"
        return (
            f"the converter {cause} on this model; try mode 'float32', or the model without its "
            f"custom layers or loops. This process is unharmed and the next conversion starts a "
            f"new one{last}"
        )

    def _stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._log.close()
        self.process = None


def _forward(stream: Any, answers: "queue.SimpleQueue[str | None]") -> None:
    with stream:
        for line in stream:
            answers.put(line)
    answers.put(None)


shared = Worker()
atexit.register(shared.close)


def warm() -> None:
    """Start the shared child in the background, so that the first conversion need not wait."""
    shared.warm()


def _serve() -> None:
    """The child's main loop."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever TensorFlow prints must not land among the answers.
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    jobs = import_module(JOBS)
    while True:
        request = json.loads(requests.get())
        try:
            answer = {"result": getattr(jobs, request["job"])(**request["arguments"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read_requests(requests: "queue.SimpleQueue[str]") -> None:
    # stdin ends when the parent does, however it died; the child must not outlive it.
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    _serve()
