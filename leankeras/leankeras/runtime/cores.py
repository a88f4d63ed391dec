"""The machine that is measured on, and how much other processes use its cores meanwhile."""

import platform
import time
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CPUINFO = Path("/proc/cpuinfo")
PACKAGES = ("leankeras", "ai-edge-litert", "keras", "tensorflow", "tensorflow-model-optimization")


class CoreWatch:
    """How busy other processes kept the machine while something ran.

    Attributes:
        free: cores minus the number that other processes used, 0 to the number of cores.
        others: share of the cores other than this process's that others used, 0 to 1.
        own: share of the wall time that this process was actually running, 0 to 1.
    """

    def __enter__(self) -> "CoreWatch":
        psutil.cpu_percent()  # the next call reports the time since this one
        self._began, self._running = time.perf_counter(), time.process_time()
        self.free = self.others = self.own = float("nan")
        return self

    def __exit__(self, *_: Any) -> None:
        cores = psutil.cpu_count()
        used = psutil.cpu_percent() / 100 * cores
        own = (time.process_time() - self._running) / (time.perf_counter() - self._began)
        foreign = float(np.clip(used - own, 0, cores))
        self.free = cores - foreign
        self.others = min(1.0, foreign / max(1, cores - 1))
        self.own = min(1.0, own)


@cache
def is_virtual() -> bool:
    """Whether this is a virtual machine, as far as Linux on an Intel or AMD processor says so."""
    return CPUINFO.exists() and " hypervisor" in CPUINFO.read_text(errors="replace")


def machine() -> dict[str, Any]:
    """What measurements are made on: ``python``, ``system``, ``processor``, ``cores``, and the
    versions of leankeras and of the packages it measures with, as far as they are installed.

    Example:
        >>> machine()["processor"]
        'Intel(R) Xeon(R) Platinum 8480+'
    """
    known = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": psutil.cpu_count(),
    }
    for package in PACKAGES:
        with suppress(PackageNotFoundError):  # a bare installation leaves some out
            known[package] = version(package)
    return known


def _processor() -> str:
    if CPUINFO.exists():
        for line in CPUINFO.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
