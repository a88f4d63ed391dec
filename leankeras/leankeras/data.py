"""The arrays a model is trained, calibrated and scored with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leankeras.arrays import open_npz
from leankeras.errors import DataError
from leankeras.validation_part import validation_rows

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "groups_train")


@dataclass(frozen=True)
class Data:
    """Training, validation and test samples of a classification task.

    Models are trained on the training part, and every choice (which model, file, layer, setting)
    is made on the validation part. The test part is only reported: a figure that a choice was based
    on is too good. Without a validation part, a fifth of the training part is set aside for it.

    Args:
        x_train: samples, shape ``(n, ...)``, numbers.
        y_train: class indices from 0, shape ``(n,)``, integers.
        x_test: samples, shape ``(m, ...)``, the same sample shape.
        y_test: class indices, shape ``(m,)``.
        x_val: samples to choose by, shape ``(k, ...)``.
        y_val: class indices, shape ``(k,)``.
        groups_train: the source of each training sample (a subject, a recording), shape ``(n,)``;
            whole groups are then set aside, since overlapping windows of one recording would leak
            from one part to the other.

    Raises:
        DataError: an array is empty, not finite or of the wrong rank or length, the training
            labels hold only one class, or nothing can be set aside.

    Example:
        >>> data = Data.load("data/watch.npz")
        >>> len(data.x_train), len(data.x_val), data.classes
        (1816, 644, 7)
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    x_val: np.ndarray | None = None
    y_val: np.ndarray | None = None
    groups_train: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (self.x_val is None) != (self.y_val is None):
            raise DataError("x_val and y_val go together; give both, or neither")
        for part in ("train", "test") if self.x_val is None else ("train", "val", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            _check_part(part, x, y)
            if x.shape[1:] != self.x_train.shape[1:]:
                raise DataError(
                    f"x_train has samples of shape {self.x_train.shape[1:]} and x_{part} of "
                    f"{x.shape[1:]}; both must have the same"
                )
        if len(np.unique(self.y_train)) < 2:
            raise DataError(
                f"y_train holds only class {self.y_train[0]}; a classifier needs at least 2 classes"
            )
        groups = self.groups_train
        if groups is not None and np.shape(groups) != self.y_train.shape:
            raise DataError(
                f"groups_train has shape {np.shape(groups)}; expected {self.y_train.shape}, a "
                "group for each training sample"
            )
        if self.x_val is None:
            self._set_aside(validation_rows(self.y_train, groups))

    def _set_aside(self, rows: np.ndarray) -> None:
        stays = np.ones(len(self.y_train), bool)
        stays[rows] = False
        split = {"x_val": self.x_train[rows], "y_val": self.y_train[rows]}
        for name in ("x_train", "y_train", "groups_train"):
            if getattr(self, name) is not None:
                split[name] = getattr(self, name)[stays]
        for name, array in split.items():
            object.__setattr__(self, name, array)

    @property
    def classes(self) -> int:
        """Number of classes: the largest label of any part, plus one."""
        return 1 + int(max(self.y_train.max(), self.y_val.max(), self.y_test.max()))

    def with_samples(self, change: Callable[[np.ndarray], np.ndarray]) -> "Data":
        """Apply a function to the samples of every part and keep the labels."""
        samples = {name: change(getattr(self, name)) for name in ("x_train", "x_val", "x_test")}
        return replace(self, **samples)

    def standardised(self) -> "Data":
        """Subtract each channel's mean and divide by its standard deviation.

        Channels are the last axis; both figures are those of the training part.
        """
        axes = tuple(range(self.x_train.ndim - 1))
        mean, deviation = self.x_train.mean(axis=axes), self.x_train.std(axis=axes)
        return self.with_samples(lambda x: ((x - mean) / deviation).astype(np.float32))

    def part(self, fraction: float) -> "Data":
        """A random fraction of each part: always the same samples, in their original order."""
        kept = {}
        for part in ("train", "val", "test"):
            count = len(getattr(self, f"y_{part}"))
            chosen = np.random.default_rng(0).permutation(count)[: int(np.ceil(fraction * count))]
            for name in (f"x_{part}", f"y_{part}", f"groups_{part}"):
                if getattr(self, name, None) is not None:
                    kept[name] = getattr(self, name)[np.sort(chosen)]
        return Data(**kept)

    def calibration(self, count: int = 200) -> np.ndarray:
        """At most ``count`` evenly spaced training samples, to calibrate a conversion with."""
        count = min(count, len(self.x_train))
        return self.x_train[np.linspace(0, len(self.x_train) - 1, count).round().astype(int)]

    @classmethod
    def load(cls, path: str | Path) -> "Data":
        """Read an ``.npz`` whose arrays are named like the arguments above, without unpickling."""
        arrays = _read(Path(path))
        try:
            return cls(**arrays)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    with open_npz(path, ", ".join(ARRAYS)) as archive:
        missing = [name for name in ARRAYS if name not in archive.files]
        if missing:
            raise DataError(
                f"{path}: has arrays {', '.join(archive.files)}; "
                f"{', '.join(missing)} missing; expected {', '.join(ARRAYS)}"
            )
        return {name: archive[name] for name in (*ARRAYS, *OPTIONAL) if name in archive.files}


def _check_part(part: str, x: np.ndarray, y: np.ndarray) -> None:
    for name, array in ((f"x_{part}", x), (f"y_{part}", y)):
        if not isinstance(array, np.ndarray):
            raise DataError(
                f"{name} is a {type(array).__name__}; expected an array, as from numpy.asarray"
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
        raise DataError(f"x_{part} holds values beyond the range of float32; scale them")
