"""Whether a 64-bit ARM processor gives the same answers, before there is one in the house.

LiteRT's own build for ARM runs, with the kernels it has there, on a processor that QEMU emulates
instruction by instruction. That settles what the answers are. It settles nothing about time: the
emulator knows no pipeline, no cache and no clock of the processor, so no latency is reported.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from leankeras.arrays import Arrays
from leankeras.devices import trial
from leankeras.devices.agreement import Agreement, disagreement, judge
from leankeras.devices.emulator import Emulator, find_emulator
from leankeras.devices.parting import find_parting
from leankeras.devices.vectors import Vectors, make_vectors
from leankeras.errors import DeviceError, ParameterError
from leankeras.files import scratch_directory

CPUS = ("cortex-a53", "cortex-a72", "max")
NO_LATENCY = (
    "no latency: an emulator's time says nothing about the processor's; measure on the device, "
    "with kopt deploy or kopt bench"
)


@dataclass(frozen=True)
class Emulation:
    """What a file does on an emulated ARM processor.

    Attributes:
        cpu: the processor, as QEMU names it.
        agreement: how its answers differ from this machine's, by output.
        parts_at: the first operator with other results, if an output differs: an integer at all,
            or a float by more than the bound.
    """

    cpu: str
    agreement: tuple[Agreement, ...]
    parts_at: str | None = None

    @property
    def same_answers(self) -> bool:
        """Whether integers are equal to the last bit, and floats within the bound."""
        return disagreement(self.agreement) is None

    def __str__(self) -> str:
        lines = [f"{self.cpu}: {each}" for each in self.agreement]
        if self.parts_at:
            lines.append(f"{self.cpu}: other results from {self.parts_at} on")
        return "\n".join([*lines, NO_LATENCY])


def emulate(file: str | Path, samples: Arrays, cpu: str = "cortex-a72") -> Emulation:
    """Run a file on an emulated ARM processor and compare its answers with this machine's.

    Args:
        file: the ``.tflite``.
        samples: floats, or the file's own type; the first 16 are used.
        cpu: "cortex-a53" (Raspberry Pi 3), "cortex-a72" (Raspberry Pi 4), or "max", which has
            every extension of the instruction set.

    Raises:
        ParameterError: the processor is not known.
        DeviceError: the emulator is not installed, or LiteRT crashes on it.
        ModelError, DataError: it is not a .tflite that a device can run, or not with the samples.

    Example:
        >>> emulate("final.tflite", x_test, cpu="cortex-a53").same_answers
        True
    """
    if cpu not in CPUS:
        raise ParameterError(f"cpu: saw {cpu!r}; expected {', '.join(CPUS)}")
    emulator = find_emulator()
    if emulator is None:
        raise DeviceError("no emulator here; install it with: kopt devices --install")
    vectors = make_vectors(file, samples)

    def run(part: Path, own: Vectors) -> list[Agreement]:
        return _run(emulator, cpu, part, own)

    agreement = tuple(run(Path(file), vectors))
    parts_at = find_parting(file, vectors, run) if disagreement(agreement) else None
    return Emulation(cpu, agreement, parts_at)


def _run(emulator: Emulator, cpu: str, file: Path, vectors: Vectors) -> list[Agreement]:
    with scratch_directory() as folder:
        shutil.copy(file, folder / "model.tflite")
        vectors.save(folder / "model.npz")
        run = emulator.run(cpu, [trial.__file__, str(folder)])
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        how = f"signal {-run.returncode}" if run.returncode < 0 else said[:200]
        raise DeviceError(f"{file}: does not run on an emulated {cpu} ({how})")
    return judge(vectors, json.loads(run.stdout.splitlines()[-1])["differences"])
