"""How much other processes use the cores during a measurement."""

import time
from typing import Any

import numpy as np
import psutil


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
