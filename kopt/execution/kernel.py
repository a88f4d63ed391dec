"""How a notebook's kernel died, and whether it is worth starting again."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
from jupyter_client.manager import AsyncKernelManager

# The variable that turns TensorFlow's oneDNN kernels off. On some processors they corrupt memory:
# with AMX, in the gradient of a strided 1 × 1 convolution on a batch of odd size.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
CRASHES = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV")
RESUME = "repeat the command with --resume to continue"


def recording(processes: list[Popen]) -> type[AsyncKernelManager]:
    """A kernel manager that appends the process of each kernel it starts to a list.

    Jupyter itself forgets the process, and with it the exit status, when the kernel has died.
    """

    class Recording(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:
            await super().start_kernel(**options)
            processes.append(self.provisioner.process)

    return Recording


def out_of_memory_kills() -> int | None:
    """How many processes Linux has killed since it booted because memory ran out.

    None if the system does not say.
    """
    counters = Path("/proc/vmstat")
    lines = counters.read_text().splitlines() if counters.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


@dataclass(frozen=True)
class Death:
    """How a kernel died.

    Attributes:
        cause: a signal, such as "SIGABRT", or an exit status, such as "exit code 3".
        out_of_memory: whether the system killed a process meanwhile because memory ran out; None
            if it does not say.
    """

    cause: str
    out_of_memory: bool | None

    @classmethod
    def of(cls, process: Popen, kills_before: int | None) -> "Death":
        """Find out how a kernel died.

        Args:
            process: the kernel's process, which has ended.
            kills_before: what :func:`out_of_memory_kills` returned before the kernel was started.
        """
        code, kills = process.wait(), out_of_memory_kills()
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return cls(cause, None if None in (kills, kills_before) else kills > kills_before)

    @property
    def is_crash(self) -> bool:
        """Whether native code crashed, rather than somebody ending the kernel."""
        return self.cause in CRASHES

    def __str__(self) -> str:
        """What happened and what to do about it, in one line."""
        if self.is_crash:
            return (
                f"the kernel crashed ({self.cause}), and not because of oneDNN, which was off "
                f"({ONEDNN}=0): a bug in TensorFlow or another native library{_memory()}. It "
                "would happen again with --resume; change a parameter of the stage, such as its "
                "epochs, or use another machine"
            )
        if self.cause != "SIGKILL":
            return f"the kernel ended with {self.cause}; {RESUME}"
        if self.out_of_memory is False:
            return f"something killed the kernel (SIGKILL), but memory had not run out; {RESUME}"
        likely = "" if self.out_of_memory else "most likely "
        return (
            f"the kernel was killed (SIGKILL), {likely}because memory ran out{_memory()}; free "
            f"some memory, or use a smaller model or less data, then {RESUME}"
        )


def _memory() -> str:
    """Memory used by the kernels and in the machine, if the system says."""
    if sys.platform != "linux":
        return ""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    total = psutil.virtual_memory().total / 1e9
    return f" (the kernels of this run took up to {peak:.1f} GB; the machine has {total:.0f} GB)"
