"""Arrays to try a model on, and arrays by name in a file, as they travel to the child and back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PREFIX = "array_"  # a model may well call an input "file", as numpy.savez calls its own argument


def invent(shape: Sequence[int], dtype: Any, generator: np.random.Generator) -> np.ndarray:
    """Values where the user has given none: standard normal, or 0 and 1 for integers."""
    if np.dtype(dtype).kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    # Integers are mostly indices; 0 and 1 exist in every vocabulary.
    return generator.integers(0, 2, shape).astype(dtype)


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of any names to an ``.npz``."""
    np.savez(path, **{PREFIX + name: array for name, array in arrays.items()})


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read what :func:`write_arrays` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {name.removeprefix(PREFIX): archive[name] for name in archive.files}
