"""Which files give the same answers elsewhere: a markdown table, for the kinds of coverage.md.

    uv run python benchmarks/devices.py [KIND ...]

For each kind of model that converts: the answers of its int8-io, int8 and float32 files on an
emulated Cortex-A72 (equal to the last bit, or by how much they differ and from which operator on),
and of the int8-io file in TFLite Micro, with the size of its arena. It needs
``kopt devices --install`` and ``leankeras[micro]``.
"""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import keras
from conversion_coverage import KINDS, SAMPLES_OF, samples_for, settle

import kopt
from leankeras.devices.agreement import Agreement
from leankeras.errors import KoptError

MODES = ("int8-io", "int8", "float32")


def in_words(agreement: Iterable[Agreement], parts_at: str | None) -> str:
    """Equal, or the largest difference of any output."""
    worst = max(agreement, key=lambda each: each.largest)
    if worst.equal:
        return "equal"
    is_float = worst.type.startswith("float")
    steps = f"{worst.largest:.0f} step{'' if worst.largest == 1 else 's'}"
    size = f"{worst.largest:.1g}" if is_float else steps
    return size + (f" from {parts_at}" if parts_at else "")


def row(kind: str, folder: Path) -> list[str]:
    """The cells of one kind of model."""
    keras.utils.set_random_seed(0)
    model = KINDS[kind]()
    samples = SAMPLES_OF.get(kind, samples_for)(model)
    settle(model, samples)
    cells = []
    files = {}
    for mode in MODES:
        try:
            files[mode] = kopt.convert(model, folder / f"{mode}.tflite", mode, samples).path
            done = kopt.emulate(files[mode], samples)
            cells.append(in_words(done.agreement, done.parts_at))
        except KoptError as error:
            cells.append(f"refused: {str(error)[:60]}")
    if "int8-io" not in files:
        return [*cells, "–", "–"]
    try:
        micro = kopt.microcontroller(files["int8-io"], samples)
    except KoptError as error:
        return [*cells, f"refused: {str(error)[-80:]}", "–"]
    if not micro.runs:
        return [*cells, f"lacks {', '.join(micro.lacking)}", "–"]
    return [*cells, in_words(micro.agreement, micro.parts_at), f"{micro.arena_bytes:,}"]


def main(*kinds: str) -> None:
    """Print the table, row by row."""
    emulated = " | ".join(f"{mode}, Cortex-A72" for mode in MODES)
    print(f"| kind | {emulated} | int8-io, TFLite Micro | arena, B |")
    print(f"|{' --- |' * (len(MODES) + 2)} ---: |")
    for kind in kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"| {' | '.join([kind, *row(kind, Path(folder))])} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
