"""What Arm's compiler for Ethos-U NPUs makes of a file: an estimate, nothing is run.

Vela places every operator on the NPU or leaves it to the CPU beside it, and estimates cycles from
a model of the NPU and its memories (https://pypi.org/project/ethos-u-vela/). The time of operators
left to the CPU is not in it.
"""

import csv
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from leankeras.devices.accelerators import NPUS
from leankeras.devices.vectors import check_operators
from leankeras.errors import DeviceError, MissingPackageError, ParameterError
from leankeras.files import scratch_directory
from leankeras.runtime import TFLiteFile

ON_NPU = "ethos-u"  # the custom operator that stands for everything on the NPU


@dataclass(frozen=True)
class NPUEstimate:
    """Vela's estimate for a file.

    Attributes:
        config: the NPU, such as "ethos-u55-128".
        system: the clock and the memories that the estimate assumes, by Vela's name.
        on_cpu: how many operators of each kind are left to the CPU.
        operators: how many operators the file has.
        sram_bytes: estimated SRAM.
        cycles: estimated cycles on the NPU for one inference.
        us: estimated microseconds on the NPU for one inference.
    """

    config: str
    system: str
    on_cpu: dict[str, int]
    operators: int
    sram_bytes: float
    cycles: float
    us: float

    def __str__(self) -> str:
        left = sum(self.on_cpu.values())
        names = f" ({', '.join(self.on_cpu)})" if left else ""
        return (
            f"{self.config}, estimated by Vela for {self.system}: {self.us:.3g} µs and "
            f"{self.cycles:,.0f} cycles on the NPU, {self.sram_bytes / 1024:.3g} KiB of SRAM; "
            f"{left} of {self.operators} operators are left to the CPU{names} and not in the time"
        )


def ethos_u(file: str | Path, config: str = "ethos-u55-128") -> NPUEstimate:
    """Estimate what a file does on an Ethos-U NPU; every figure is an estimate.

    Args:
        file: the ``.tflite``; floats stay on the CPU, so mode int8-io is best.
        config: "ethos-u55-" with 32, 64, 128 or 256 MACs, "ethos-u65-" with 256 or 512.

    Raises:
        MissingPackageError: ethos-u-vela is not installed.
        ParameterError: the NPU is not known.
        ModelError: it is not a .tflite that a device can run.
        DeviceError: Vela fails on it.

    Example:
        >>> print(ethos_u("final.tflite"))
    """
    if config not in NPUS:
        raise ParameterError(f"config: saw {config!r}; expected {', '.join(NPUS)}")
    if find_spec("ethosu") is None:
        raise MissingPackageError("ethos_u needs ethos-u-vela; install leankeras[micro]")
    opened = check_operators(file)
    system, memory = NPUS[config]
    with scratch_directory() as folder:
        command = [
            *(sys.executable, "-m", "ethosu.vela", str(Path(file).resolve())),
            *("--accelerator-config", config, "--config", "Arm/vela.ini"),
            *("--system-config", system, "--memory-mode", memory, "--output-dir", str(folder)),
        ]
        run = subprocess.run(command, capture_output=True, text=True, errors="replace")
        summaries = list(folder.glob("*_summary_*.csv"))
        if run.returncode or not summaries:
            said = (run.stderr or run.stdout).strip().splitlines() or ["no reason given"]
            raise DeviceError(f"{file}: Vela cannot compile it ({said[-1][:200]})")
        with summaries[0].open(newline="") as text:
            row = next(csv.DictReader(text))
        compiled = TFLiteFile(next(folder.glob("*_vela.tflite")))
    return NPUEstimate(
        config=config,
        system=f"{system}, {memory}",
        on_cpu={kind: count for kind, count in compiled.kinds.items() if kind != ON_NPU},
        operators=len(opened.operators),
        sram_bytes=1024 * float(row["sram_memory_used"]),
        cycles=float(row["cycles_total"]),
        us=1e6 * float(row["inference_time"]),
    )
