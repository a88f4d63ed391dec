"""One table of what can be known about a file on devices that are not here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from leankeras.arrays import Arrays
from leankeras.devices.emulation import CPUS, emulate
from leankeras.devices.micro import KB, microcontroller
from leankeras.devices.npu import ethos_u
from leankeras.devices.vectors import check_operators
from leankeras.errors import DeviceError, MissingPackageError

EMULATED = ", emulated"
COLUMNS = ["same_answers", "not_run_there", "ram_kb", "fits", "estimated_us", "parts_at"]


@dataclass(frozen=True)
class Survey:
    """What is known, and what could not be looked at.

    Attributes:
        table: by device: whether it gives the same answers, the operators that it lacks or leaves
            to a CPU, RAM in KiB, whether file and arena are smaller than its memories, an
            estimated latency in microseconds, and the first operator with other results. None
            where it cannot be known without the device.
        left_out: for each device left out, a line that says why.
    """

    table: pd.DataFrame
    left_out: tuple[str, ...]

    @property
    def processors_agree(self) -> bool:
        """Whether no emulated processor gives other answers; they all run the same runtime."""
        emulated = self.table[self.table.index.str.endswith(EMULATED)]
        return not any(same is False for same in emulated.same_answers)

    def __str__(self) -> str:
        return "\n".join([self._shown().to_string(), *self.left_out])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{line}</p>" for line in self.left_out)
        return self._shown().to_html() + lines

    def _shown(self) -> pd.DataFrame:
        return self.table.where(self.table.notna(), "–")


def survey_devices(file: str | Path, samples: Arrays, npu: str = "ethos-u55-128") -> Survey:
    """Look at a file on every device for which this machine has the tools.

    Args:
        file: the ``.tflite``.
        samples: floats, or the file's own type.
        npu: see :func:`leankeras.ethos_u`.

    Raises:
        ModelError, DataError: it is not a .tflite that a device can run, or not with the samples.

    Example:
        >>> survey_devices("final.tflite", x_test).table
    """
    check_operators(file)
    ways: dict[str, Callable[[], dict[str, dict[str, Any]]]] = {
        **{f"{cpu}{EMULATED}": lambda cpu=cpu: _emulated(file, samples, cpu) for cpu in CPUS[:2]},
        "TFLite Micro": lambda: _micro(file, samples),
        npu: lambda: _npu(file, npu),
    }
    rows: dict[str, dict[str, Any]] = {}
    left_out = []
    for device, look in ways.items():
        try:
            rows |= look()
        except (DeviceError, MissingPackageError) as error:
            left_out.append(f"{device} is left out: {error}")
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS, dtype=object)
    return Survey(table.rename_axis("device"), tuple(left_out))


def _emulated(file: str | Path, samples: Arrays, cpu: str) -> dict[str, dict[str, Any]]:
    found = emulate(file, samples, cpu)
    return {
        f"{cpu}{EMULATED}": {
            "same_answers": found.same_answers,
            "not_run_there": "",
            "parts_at": found.parts_at,
        }
    }


def _micro(file: str | Path, samples: Arrays) -> dict[str, dict[str, Any]]:
    found = microcontroller(file, samples)
    common = {
        "same_answers": found.same_answers,
        "not_run_there": ", ".join(found.lacking),
        "ram_kb": found.arena_bytes and round(found.arena_bytes / KB, 1),
        "parts_at": found.parts_at,
    }
    return {name: common | {"fits": bool(fits)} for name, fits in found.boards.fits.items()}


def _npu(file: str | Path, npu: str) -> dict[str, dict[str, Any]]:
    found = ethos_u(file, npu)
    return {
        f"{npu}, estimated": {
            "not_run_there": ", ".join(found.on_cpu),
            "ram_kb": round(found.sram_bytes / KB, 1),
            "estimated_us": round(found.us, 1) if found.us else None,
        }
    }
