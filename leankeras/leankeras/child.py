"""A child process for jobs that may crash or need TensorFlow settings of their own.

Requests and answers are lines of JSON over the child's standard input and output; data lies in
files. TensorFlow's output goes to a log that is read only to explain a crash, or an error that
says nothing. A job may report its
steps with :func:`tell` before it answers.
"""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import psutil

from leankeras.errors import JobError

NOISE = re.compile(r"INFO|WARNING|[IW]\d{4} |fully_quantize")
PACKAGE_ROOT = Path(__file__).parents[1]


def package_environment() -> dict[str, str]:
    """The variables of a process that is to find this package."""
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


class ChildDied(Exception):
    """The child ended during a job; the text says how, such as "ended with exit code 1".

    Attributes:
        last_words: the last meaningful line it printed; may be empty.
    """

    def __init__(self, cause: str, last_words: str) -> None:
        super().__init__(cause)
        self.last_words = last_words


class ChildTimeout(Exception):
    """The child exceeded its time limit and was stopped."""


class Child:
    """One child process, started when first needed and replaced when it dies.

    Args:
        jobs: the module whose functions it runs, as ``package.module``.
        environment: variables to set in addition to this process's environment.
        timeout: seconds a job may take before the child is killed; None for no limit.
        memory: bytes; a child that holds more after a job is killed, and the next job gets a new
            one. None for no limit.

    Example:
        >>> with Child("leankeras.conversion.child_jobs") as child:
        ...     child.request("describe", directory="exported")
    """

    def __init__(
        self,
        jobs: str,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        memory: float | None = None,
    ) -> None:
        self.jobs = jobs
        self.environment = dict(environment or {})
        self.timeout = timeout
        self.memory = memory
        self.process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self) -> None:
        """Start the child unless it is running, without waiting for it."""
        with self._lock:
            self._start()

    def request(
        self, job: str, report: Callable[[str], None] = lambda step: None, **arguments: Any
    ) -> Any:
        """Have the child run one of its job functions.

        Args:
            job: the function's name.
            report: called with the text of each step that the job reports.
            arguments: its arguments, as values that JSON can hold.

        Returns:
            The function's result, as a value that JSON can hold.

        Raises:
            JobError: the function raised.
            ChildDied, ChildTimeout: the child is gone. The next request starts a new one.
        """
        with self._lock:
            self._start()
            logged = self._log_size()
            try:
                answer = self._ask(json.dumps({"job": job, "arguments": arguments}), report)
            except BaseException:
                # After Ctrl-C the child is still working on a request nobody is waiting for.
                self._stop()
                raise
            if answer.get("error", "").endswith(": "):
                answer["error"] += "\n".join(self._log_lines(logged))
            if self.memory and psutil.Process(self.process.pid).memory_info().rss > self.memory:
                self._stop()
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
        # -P: a json.py or keras.py in the user's directory must not shadow the real one. A session
        # of its own shields the child from a Ctrl-C meant for this process.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "leankeras.child", self.jobs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=package_environment() | self.environment,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(
            target=_forward, args=(self.process.stdout, self._answers), daemon=True
        ).start()

    def _ask(self, line: str, report: Callable[[str], None]) -> dict:
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            while (said := self._answers.get(timeout=self.timeout)) is not None:
                answer = json.loads(said)
                if "step" not in answer:
                    return answer
                report(answer["step"])
        except BrokenPipeError:
            pass
        except queue.Empty:
            raise ChildTimeout(f"took longer than {self.timeout:g} s and was stopped") from None
        raise self._death()

    def _death(self) -> ChildDied:
        code = self.process.wait()
        lines = self._log_lines(0)
        if code < 0:
            cause = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        else:
            cause = f"ended with exit code {code}"
        return ChildDied(cause, lines[-1][:300] if lines else "")

    def _log_size(self) -> int:
        return os.fstat(self._log.fileno()).st_size

    def _log_lines(self, start: int) -> list[str]:
        """The meaningful lines of the log from a place on."""
        # not by seek(), which would move the place at which the child writes
        log = os.pread(self._log.fileno(), self._log_size() - start, start)
        lines = log.decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip() and not NOISE.match(line)]

    def _stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._log.close()
        self.process = None


def _forward(stream: TextIO, answers: "queue.SimpleQueue[str | None]") -> None:
    with stream:
        for line in stream:
            answers.put(line)
    answers.put(None)


def tell(step: str) -> None:
    """Report a step from within a job, in a few words."""
    _write({"step": step})


def serve(jobs: str) -> None:
    """The child's main loop.

    Args:
        jobs: the module whose functions are called.
    """
    global _answers
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # TensorFlow's output must not land among the answers.
    os.dup2(2, 1)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    module = import_module(jobs)
    while True:
        request = json.loads(requests.get())
        try:
            answer = {"result": getattr(module, request["job"])(**request["arguments"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        _write(answer)


def _write(answer: dict) -> None:
    _answers.write(json.dumps(answer) + "\n")
    _answers.flush()


def _read_requests(requests: "queue.SimpleQueue[str]") -> None:
    # stdin ends when the parent does, however it died; the child must not outlive it.
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    # not the serve of __main__: jobs report their steps to leankeras.child, another module
    import_module("leankeras.child").serve(sys.argv[1])
