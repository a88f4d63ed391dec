"""Whether TFLite Micro runs a file, gives the same answers, and how much memory that takes.

TFLite Micro is the runtime for microcontrollers: no operating system, no heap. All tensors live in
one *arena*; the file stays in flash (David et al., "TensorFlow Lite Micro", arXiv:2010.08678).
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from leankeras.arrays import Arrays
from leankeras.child import Child, ChildDied
from leankeras.devices.agreement import Agreement, disagreement, judge
from leankeras.devices.boards import BOARDS, find_board
from leankeras.devices.parting import find_parting
from leankeras.devices.vectors import Vectors, make_vectors
from leankeras.errors import DeviceError, JobError, MissingPackageError
from leankeras.files import scratch_directory

KB = 1024  # as makers of microcontrollers count
STEPS = 1  # its kernels round otherwise than XNNPACK's


@dataclass(frozen=True)
class Microcontroller:
    """What TFLite Micro makes of a file.

    Attributes:
        lacking: kinds of operators that do not exist there; with any, the file does not run.
        agreement: how its answers differ from LiteRT's, by output.
        arena_bytes: RAM for all tensors, as measured with 64-bit pointers; a 32-bit core needs
            less. None if the file does not run.
        flash_bytes: the size of the file; the runtime's code comes on top.
        parts_at: the first operator with other results, if the answers are not the same.
    """

    lacking: tuple[str, ...]
    agreement: tuple[Agreement, ...]
    arena_bytes: int | None
    flash_bytes: int
    parts_at: str | None = None

    @property
    def runs(self) -> bool:
        """Whether every operator exists."""
        return not self.lacking

    @property
    def same_answers(self) -> bool:
        """Whether it runs and gives LiteRT's answers, integers within one step."""
        return self.runs and disagreement(self.agreement, STEPS) is None

    @property
    def boards(self) -> pd.DataFrame:
        """The boards of :data:`BOARDS`, and whether file and arena are smaller than what they have.

        The program and its stack need room as well, so "fits" is where to begin, not a promise.
        """
        return pd.DataFrame(
            [
                {
                    "board": name,
                    "flash_kb": board.flash_kb,
                    "ram_kb": board.ram_kb,
                    "fits": self.runs and self._lacks_room(name) is None,
                    "source": board.source,
                }
                for name, board in BOARDS.items()
            ]
        ).set_index("board")

    def _lacks_room(self, name: str) -> str | None:
        board = find_board(name)
        if self.flash_bytes > board.flash_kb * KB:
            return f"the file has {self.flash_bytes / KB:.0f} kB; the flash has {board.flash_kb}"
        if self.arena_bytes > board.ram_kb * KB:
            return f"the arena takes {self.arena_bytes / KB:.0f} kB; the RAM has {board.ram_kb}"
        return None

    def __str__(self) -> str:
        room = ", ".join(self.boards.index[self.boards.fits]) or "none of the boards"
        if self.lacking:
            return f"TFLite Micro does not run it: it has no {', '.join(self.lacking)}"
        return "\n".join(
            [
                f"arena {self.arena_bytes:,} bytes of RAM, file {self.flash_bytes:,} bytes of "
                "flash, the runtime's code besides",
                *map(str, self.agreement),
                *([f"other results from {self.parts_at} on"] if self.parts_at else []),
                f"room on: {room}",
            ]
        )


def microcontroller(file: str | Path, samples: Arrays, board: str | None = None) -> Microcontroller:
    """Run a file in TFLite Micro on this machine and compare its answers with LiteRT's.

    This is the reference code that every microcontroller can run; kernels optimized for a chip
    may differ. It says nothing of the latency there.

    Args:
        file: the ``.tflite``, best in mode int8-io.
        samples: floats, or the file's own type; the first 16 are used.
        board: a name in :data:`BOARDS` that has to have room for it.

    Raises:
        MissingPackageError: tflite-micro is not installed.
        ModelError, DataError: it is not a .tflite that a device can run, or not with the samples.
        ParameterError: the board is not known.
        DeviceError: the board has no room, or TFLite Micro crashes.

    Example:
        >>> microcontroller("final.tflite", x_test).arena_bytes
        7424
    """
    if board:
        find_board(board)
    if find_spec("tflite_micro") is None:
        raise MissingPackageError("microcontroller needs tflite-micro; install leankeras[micro]")
    vectors = make_vectors(file, samples)
    with Child("leankeras.devices.micro_job") as child:
        seen = _run(child, Path(file), vectors)
        agreement, parts_at = (), None
        if not seen["lacking"]:
            agreement = tuple(judge(vectors, seen["differences"]))
        if disagreement(agreement, STEPS):
            parts_at = find_parting(
                file,
                vectors,
                lambda part, own: judge(own, _run(child, part, own)["differences"]),
                STEPS,
            )
    found = Microcontroller(
        lacking=tuple(seen["lacking"]),
        agreement=agreement,
        arena_bytes=seen.get("arena"),
        flash_bytes=Path(file).stat().st_size,
        parts_at=parts_at,
    )
    if board and (why := found._lacks_room(board) if found.runs else str(found)):
        raise DeviceError(f"{board}: {why}; convert in mode int8-io, or remove channels")
    return found


def _run(child: Child, file: Path, vectors: Vectors) -> dict[str, Any]:
    with scratch_directory() as folder:
        vectors.save(folder / "vectors.npz")
        try:
            return child.request(
                "run", file=str(file.resolve()), vectors=str(folder / "vectors.npz")
            )
        except ChildDied as died:
            raise DeviceError(f"{file}: TFLite Micro {died}") from died
        except JobError as error:
            raise DeviceError(f"{file}: TFLite Micro does not run it ({error})") from error
