"""The arrays a model is trained, calibrated and scored with."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np

from leankeras.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Data:
    """Training and test samples of a classification task.

    Args:
        x_train: samples, shape ``(n, ...)``, numbers.
        y_train: class indices from 0, shape ``(n,)``, integers.
        x_test: samples, shape ``(m, ...)``, the same sample shape.
        y_test: class indices, shape ``(m,)``.

    Raises:
        DataError: where an array is empty, not finite, of the wrong rank or length, or where the
            training labels hold one class only.

    Example:
        >>> data = Data.load("data/watch.npz")
        >>> data.x_train.shape, data.classes
        ((2460, 128, 6), 7)
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            _check_part(part, getattr(self, f"x_{part}"), getattr(self, f"y_{part}"))
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise DataError(
                f"x_train has samples of shape {self.x_train.shape[1:]} and x_test of "
                f"{self.x_test.shape[1:]}; both must have the same"
            )
        if len(np.unique(self.y_train)) < 2:
            raise DataError(
                f"y_train holds only class {self.y_train[0]}; a classifier needs at least 2 classes"
            )

    @property
    def classes(self) -> int:
        """Number of classes: the largest label of either part, plus one."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    def standardised(self) -> "Data":
        """Every channel (the last axis) less its mean and over its spread in the training part."""
        axes = tuple(range(self.x_train.ndim - 1))
        mean, spread = self.x_train.mean(axis=axes), self.x_train.std(axis=axes)
        x_train, x_test = (
            ((x - mean) / spread).astype(np.float32) for x in (self.x_train, self.x_test)
        )
        return Data(x_train, self.y_train, x_test, self.y_test)

    def part(self, fraction: float) -> "Data":
        """A random part of both parts, always the same one, in the order it had."""
        arrays = []
        for x, y in ((self.x_train, self.y_train), (self.x_test, self.y_test)):
            chosen = np.random.default_rng(0).permutation(len(x))[: int(np.ceil(fraction * len(x)))]
            arrays += [x[np.sort(chosen)], y[np.sort(chosen)]]
        return Data(*arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Data":
        """Read an ``.npz`` with the arrays x_train, y_train, x_test and y_test, never pickles."""
        arrays = _read(Path(path))
        try:
            return cls(**arrays)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an .npz with {', '.join(ARRAYS)}")
    how = f"write it with numpy.savez_compressed(path, {', '.join(ARRAYS)})"
    if not is_zipfile(path):  # else NumPy would take it for a pickle
        raise DataError(f"{path}: not a readable .npz (no archive of arrays); {how}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ARRAYS if name not in archive.files]
            if missing:
                raise DataError(
                    f"{path}: has arrays {', '.join(archive.files)}; "
                    f"{', '.join(missing)} missing of {', '.join(ARRAYS)}"
                )
            return {name: archive[name] for name in ARRAYS}
    except (ValueError, TypeError, BadZipFile, zlib.error, EOFError, MemoryError) as error:
        reason = str(error).splitlines()[0].partition(" when allow_pickle")[0]
        raise DataError(f"{path}: not a readable .npz of plain arrays ({reason}); {how}") from error


def _check_part(part: str, x: np.ndarray, y: np.ndarray) -> None:
    for name, array in ((f"x_{part}", x), (f"y_{part}", y)):
        if not isinstance(array, np.ndarray):
            raise DataError(
                f"{name} is a {type(array).__name__}; expected an array, as numpy.asarray makes it"
            )
    if x.ndim < 2 or len(x) == 0:
        raise DataError(f"x_{part} has shape {x.shape}; expected (samples, ...) with samples > 0")
    if x.dtype.kind not in "fiu":
        raise DataError(f"x_{part} has dtype {x.dtype}; expected numbers (float or integer)")
    if y.shape != (len(x),):
        raise DataError(
            f"y_{part} has shape {y.shape}; expected ({len(x)},), a class index for each sample"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"y_{part} has dtype {y.dtype}; expected integer class indices")
    if y.min() < 0:
        raise DataError(f"y_{part} holds the label {y.min()}; class indices start at 0")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).sum())
        raise DataError(f"x_{part} holds NaN or Inf in {bad} of {len(x)} samples; remove or fill")
    if np.abs(x).max() > np.finfo(np.float32).max:
        raise DataError(f"x_{part} holds values beyond what float32 can; scale them")
