"""Arrays by name in a file, as they travel between this process and the child."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

PREFIX = "array_"  # a model may well call an input "file", as numpy.savez calls its own argument


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of any names to an ``.npz``."""
    np.savez(path, **{PREFIX + name: array for name, array in arrays.items()})


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read what :func:`write_arrays` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {name.removeprefix(PREFIX): archive[name] for name in archive.files}
