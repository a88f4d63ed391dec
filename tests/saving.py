"""Data as a user keeps it."""

from pathlib import Path

import numpy as np

from leankeras.data import Data


def save_data(path: Path, data: Data) -> None:
    """Write the parts that a Data has to an ``.npz``."""
    np.savez(path, **{name: array for name, array in vars(data).items() if array is not None})
