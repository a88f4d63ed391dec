"""Rows of an array that stays in its file: only those that are asked for are read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from leankeras.errors import DataError, one_line
from leankeras.files import is_git_lfs_pointer

CHUNK_BYTES = 2**26  # how much of an array is looked at in one go


class Rows:
    """Some rows of an array in a file, which is larger than memory perhaps.

    It has the ``shape``, ``ndim``, ``size``, ``dtype`` and ``len`` of an array; indexing its first
    axis, by a slice or by row numbers, reads those rows. ``numpy.asarray`` reads all of them.

    Args:
        array: a memory map, ``(n, ...)``.
        rows: which of its rows, in which order; by default all.
        change: a function of a batch, applied to what is read.

    Example:
        >>> rows = open_npy(Path("x_train.npy"))
        >>> rows.shape, rows[:32].shape
        ((50000, 32, 32, 3), (32, 32, 32, 3))
    """

    def __init__(
        self,
        array: np.ndarray,
        rows: np.ndarray | None = None,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._array = array
        self._rows = np.arange(len(array)) if rows is None else rows
        self._change = change
        self.is_finite = False  # set by whoever has looked
        batch = self._read(self._rows[:1])
        self.dtype, self._sample_shape = batch.dtype, batch.shape[1:]

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return (len(self._rows), *self._sample_shape)

    @property
    def ndim(self) -> int:
        """As of an array."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """As of an array."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read rows: those of a slice or of row numbers, or a single one without its first axis."""
        rows = self._rows[key]
        return self._read(rows) if rows.ndim else self._read(rows[np.newaxis])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def reshape(self, *shape: int) -> "Rows":
        """The same rows, each in another shape; the first axis stays as it is."""
        return self.changed(lambda batch: batch.reshape(len(batch), *shape[1:]))

    def changed(self, change: Callable[[np.ndarray], np.ndarray]) -> "Rows":
        """The same rows, to each batch of which a function is applied when it is read."""
        before = self._change
        return Rows(self._array, self._rows, lambda b: change(b if before is None else before(b)))

    def selected(self, rows: np.ndarray) -> "Rows":
        """Some of the rows, without reading them."""
        chosen = Rows(self._array, self._rows[rows], self._change)
        chosen.is_finite = self.is_finite
        return chosen

    def _read(self, rows: np.ndarray) -> np.ndarray:
        batch = np.asarray(self._array[rows])
        batch = batch.astype(batch.dtype.newbyteorder("="), copy=False)
        return batch if self._change is None else self._change(batch)


def select(array: np.ndarray | Rows, rows: np.ndarray) -> np.ndarray | Rows:
    """Some rows of an array; of one in a file, without reading them."""
    return array.selected(rows) if isinstance(array, Rows) else array[rows]


def unread(array: Any) -> Any:
    """An array for anything that is one; one in a file stays there."""
    return array if isinstance(array, Rows) else np.asarray(array)


def chunks(array: np.ndarray | Rows) -> Iterator[np.ndarray]:
    """All rows of an array, 64 MB at a time."""
    step = max(1, CHUNK_BYTES // max(1, array.dtype.itemsize * int(np.prod(array.shape[1:]))))
    return (array[start : start + step] for start in range(0, len(array), step))


def open_npy(path: Path) -> np.ndarray | Rows:
    """Open an untrusted ``.npy`` without unpickling.

    Returns:
        Its rows, which stay in the file; of an array of one axis or none, the array itself.

    Raises:
        DataError: anything is wrong with it.
    """
    if is_git_lfs_pointer(path):
        raise DataError(f"{path}: a Git LFS pointer, not the array; fetch it with git lfs pull")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an .npz under this name")
        return Rows(array) if array.ndim > 1 else np.array(array)
    except (OSError, ValueError, EOFError) as error:
        reason = one_line(error).partition(" when allow_pickle")[0]
        raise DataError(
            f"{path}: not a readable .npy of a plain array ({reason}); write it with "
            "numpy.save(path, array)"
        ) from error
