"""The operator at which another machine's answers part from this one's."""

from collections.abc import Callable
from pathlib import Path

from leankeras.devices.agreement import Agreement, disagreement
from leankeras.devices.vectors import Vectors, make_vectors
from leankeras.files import scratch_directory
from leankeras.runtime import TFLiteFile, prefix


def find_parting(
    file: str | Path,
    vectors: Vectors,
    run: Callable[[Path, Vectors], list[Agreement]],
    steps: int = 0,
) -> str:
    """The first operator whose results differ, by halving the file.

    Args:
        file: the ``.tflite``, whose outputs differ.
        vectors: its test vectors.
        run: runs a file there and compares.
        steps: how many steps an integer may differ by.

    Returns:
        The operator and its layer, such as ``"RSQRT (norm)"``.
    """
    whole = TFLiteFile(file)
    same, differs = 0, len(whole.operators)
    with scratch_directory() as folder:
        path = folder / "prefix.tflite"
        while differs - same > 1:
            middle = (same + differs) // 2
            path.write_bytes(prefix(whole, middle))
            part = make_vectors(path, list(vectors.inputs.values()))
            if disagreement(run(path, part), steps):
                differs = middle
            else:
                same = middle
    place = differs - 1
    layer = whole.operator_layers()[place]
    return whole.operators[place].kind + (f" ({layer})" if layer else "")
