"""The arrays a model is trained, calibrated and scored with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leankeras.arrays import Arrays, count_samples, each_array, open_npz
from leankeras.errors import DataError
from leankeras.rows import Rows, chunks, open_npy, select
from leankeras.validation_part import anomaly_rows, validation_rows

if TYPE_CHECKING:
    from leankeras.task import SeveralTasks, Task

PARTS = ("train", "val", "test")
KINDS = ("x", "y", "groups")
NAMES = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test", "groups_train")
REQUIRED = ("x_train", "x_test")
EXPECTED = "x_train, y_train, x_test and y_test"


@dataclass(frozen=True)
class Data:
    """Training, validation and test samples, with what the outputs for them should be.

    Models are trained on the training part, and every choice (which model, file, layer, setting)
    is made on the validation part. The test part is only reported: a figure that a choice was based
    on is too good. Without a validation part, a fifth of the training part is set aside for it.

    For several inputs or outputs, each argument is a dict of arrays by name. A model that is to
    give back its inputs needs no labels. If some of its test samples are anomalies, ``y_test`` says
    which (1 or 0 for each sample); without validation samples, a third of the test samples are set
    aside, since only they contain anomalies.

    Args:
        x_train: samples, shape ``(n, ...)``, numbers.
        y_train: labels, shape ``(n, ...)``: class indices, one-hot vectors, numbers, ...
        x_test: samples, shape ``(m, ...)``, the same sample shape.
        y_test: labels, shape ``(m, ...)``.
        x_val: samples to choose by, shape ``(k, ...)``.
        y_val: their labels.
        groups_train: who or what each training sample is from (a subject, a recording), shape
            ``(n,)``; whole groups are then set aside, as overlapping windows of one recording
            would tell of each other.
        task: what the labels mean, as a :class:`leankeras.Task` or its name; None leaves it to be
            inferred from the model's outputs and the labels.

    Raises:
        DataError: where an array is empty, not finite, or of the wrong rank or length; where the
            training labels hold one class only; or where nothing can be set aside.

    Example:
        >>> data = Data.load("data/watch.npz")
        >>> len(data.x_train), len(data.x_val)
        (1816, 644)
    """

    x_train: Arrays
    y_train: Arrays | None
    x_test: Arrays
    y_test: Arrays | None
    x_val: Arrays | None = None
    y_val: Arrays | None = None
    groups_train: np.ndarray | None = None
    task: "Task | SeveralTasks | str | None" = None

    def __post_init__(self) -> None:
        self._check_parts()
        for part in PARTS:
            if self.samples(part) is not None:
                self._check_part(part)
        count = count_samples(self.x_train)
        groups = self.groups_train
        if groups is not None and np.shape(groups) != (count,):
            raise DataError(
                f"groups_train has shape {np.shape(groups)}; expected {(count,)}, a group for each "
                "training sample"
            )
        if self.x_val is None:
            if self.y_train is None and self.y_test is not None:
                self._set_aside("test", anomaly_rows(self.y_test))
            else:
                self._set_aside("train", validation_rows(count, self.y_train, groups))

    @property
    def classes(self) -> int:
        """Number of classes where a sample has one: the largest index of any part, plus one."""
        return 1 + int(max(self.class_indices(part).max() for part in ("train", "val", "test")))

    def class_indices(self, part: str) -> np.ndarray:
        """The class of each sample of a part, shape ``(n,)``, from indices or one-hot labels."""
        labels = np.asarray(self.labels(part))
        return labels.ravel() if labels[0].size == 1 else labels.argmax(axis=-1)

    @property
    def evidence(self) -> Any:
        """What a task is inferred from: labels, or None where the outputs are to be the inputs."""
        if self.y_train is None and self.y_val is None:
            return None
        return self.labels("val") if self.y_train is None else self.y_train

    def samples(self, part: str) -> Any:
        """The samples of a part: "train", "val" or "test"."""
        return getattr(self, f"x_{part}")

    def labels(self, part: str) -> Any:
        """What the outputs for a part are scored by.

        Args:
            part: "train", "val" or "test".

        Returns:
            The labels. Where the outputs are to be the inputs, the inputs; with labels of
            anomalies both, as arrays called ``input`` and ``anomaly``.
        """
        x, y = self.samples(part), getattr(self, f"y_{part}")
        if self.y_train is not None:
            return y
        return x if y is None else {"input": x, "anomaly": y}

    def with_samples(self, change: Callable[[np.ndarray], np.ndarray]) -> "Data":
        """The same labels, with the samples of every part changed by a function of an array.

        Samples that stay in a file are changed a batch at a time, whenever they are read.
        """

        def changed(array: Any) -> Any:
            return array.changed(change) if isinstance(array, Rows) else change(array)

        return replace(
            self, **{f"x_{part}": each_array(self.samples(part), changed) for part in PARTS}
        )

    def standardised(self) -> "Data":
        """Subtract each channel's mean and divide by its standard deviation.

        Both are those of the training part, which must be a single array.
        """
        mean, deviation = _mean_and_deviation(self.x_train)
        return self.with_samples(lambda x: ((x - mean) / deviation).astype(np.float32))

    def part(self, fraction: float) -> "Data":
        """A random fraction of each part: always the same samples, in their original order."""
        return self._sampled(lambda count: int(np.ceil(fraction * count)))

    def at_most(self, samples: int) -> "Data":
        """As many random samples of each part, or all of them where there are no more."""
        return self._sampled(lambda count: min(samples, count))

    def calibration(self, count: int = 200) -> Arrays:
        """Training samples at even distances, to calibrate a conversion with: ``count`` at most."""
        whole = count_samples(self.x_train)
        rows = np.linspace(0, whole - 1, min(count, whole)).round().astype(int)
        return each_array(self.x_train, lambda array: array[rows])

    @classmethod
    def load(cls, path: str | Path) -> "Data":
        """Read an ``.npz``, or a folder of ``.npy`` files, named as the arguments above.

        Of several inputs or outputs, the arrays are called ``x_train/NAME``, ``y_train/NAME``, ...
        Nothing is unpickled. The arrays of a folder (``x_train.npy``, ...) stay in their files and
        are read in batches, so they may be larger than memory.
        """
        arrays = _read(Path(path))
        try:
            data = cls(**arrays)
            for part in PARTS:  # a few of the samples, as in a quick run, may be of one class
                _check_variety(f"y_{part}", getattr(data, f"y_{part}"))
            return data
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def _sampled(self, size: Callable[[int], int]) -> "Data":
        kept = {}
        for part in PARTS:
            count = count_samples(self.samples(part))
            chosen = np.random.default_rng(0).permutation(count)[: size(count)]
            kept |= self._rows(part, np.sort(chosen))
        return replace(self, **kept)

    def _rows(self, part: str, rows: np.ndarray) -> dict[str, Any]:
        """Some rows of each array of a part, by the names of the arguments."""
        arrays = {name: getattr(self, name, None) for name in (f"{kind}_{part}" for kind in KINDS)}
        return {
            name: each_array(array, lambda each: select(each, rows))
            for name, array in arrays.items()
            if array is not None
        }

    def _set_aside(self, part: str, rows: np.ndarray) -> None:
        stays = np.setdiff1d(np.arange(count_samples(self.samples(part))), rows)
        aside = {f"{name[0]}_val": array for name, array in self._rows(part, rows).items()}
        aside.pop("g_val", None)
        for name, array in (self._rows(part, stays) | aside).items():
            object.__setattr__(self, name, array)

    def _check_parts(self) -> None:
        """Refuse parts that are there by half, or of another structure than the training part."""
        if self.y_train is not None and (self.x_val is None) != (self.y_val is None):
            raise DataError("x_val and y_val go together; give both, or neither")
        if self.y_train is not None and self.y_test is None:
            raise DataError("y_train without y_test; give the labels of both parts, or of neither")
        for kind in ("x", "y"):
            train = getattr(self, f"{kind}_train")
            for part in PARTS[1:]:
                given = getattr(self, f"{kind}_{part}")
                if train is not None and given is not None and _names(given) != _names(train):
                    raise DataError(
                        f"{kind}_train has {_names(train)} and {kind}_{part} {_names(given)}; both "
                        "must have the same arrays"
                    )

    def _check_part(self, part: str) -> None:
        x, y = self.samples(part), getattr(self, f"y_{part}")
        count = None
        for name, array in _each(f"x_{part}", x):
            _check_samples(name, array)
            count = len(array) if count is None else count
            if len(array) != count:
                raise DataError(f"{name} has {len(array)} samples, and others of it {count}")
        for (name, array), (_, like) in zip(
            _each(f"x_{part}", x), _each("x_train", self.x_train), strict=True
        ):
            if array.shape[1:] != like.shape[1:]:
                raise DataError(
                    f"x_train has samples of shape {like.shape[1:]} and {name} of "
                    f"{array.shape[1:]}; both must have the same"
                )
        for name, array in _each(f"y_{part}", y) if y is not None else ():
            _check_labels(name, array, count)
        if part == "train":
            _check_variety("y_train", y)


def _names(arrays: Any) -> str:
    return ", ".join(sorted(arrays)) if isinstance(arrays, Mapping) else "one array"


def _each(name: str, arrays: Any) -> list[tuple[str, Any]]:
    """The arrays of an argument with the names that a message calls them by."""
    if isinstance(arrays, Mapping):
        return [(f"{name}/{key}", arrays[key]) for key in sorted(arrays)]
    return [(name, arrays)]


def _mean_and_deviation(x: np.ndarray | Rows) -> tuple[np.ndarray, np.ndarray]:
    """Those of each channel, the last axis."""
    axes = tuple(range(x.ndim - 1))
    if isinstance(x, np.ndarray):
        return x.mean(axis=axes), x.std(axis=axes)
    count = x.size / x.shape[-1]
    mean = sum(chunk.sum(axis=axes, dtype=np.float64) for chunk in chunks(x)) / count
    squares = sum(np.square(chunk - mean).sum(axis=axes) for chunk in chunks(x))
    return mean, np.sqrt(squares / count)


def _check_samples(name: str, x: Any) -> None:
    _check_array(name, x)
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{name} has shape {x.shape}; expected (samples, ...) with samples > 0")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {x.dtype}; expected numbers (float or integer)")
    _check_finite(name, x, "samples")


def _check_labels(name: str, y: Any, count: int) -> None:
    _check_array(name, y)
    if y.ndim == 0 or len(y) != count:
        raise DataError(
            f"{name} has shape {y.shape}; expected ({count}, ...), a label for each sample"
        )
    if y.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {y.dtype}; expected numbers (float or integer)")
    _check_finite(name, y, "labels")


def _check_variety(name: str, labels: Any) -> None:
    for each, array in _each(name, labels) if labels is not None else ():
        if array.dtype.kind in "iub" and array.size:
            only = array[:1].flat[0]
            if all((chunk == only).all() for chunk in chunks(array)):
                raise DataError(
                    f"{each} holds only {only}; a model needs at least 2 classes to learn and to "
                    "be judged by"
                )


def _check_array(name: str, array: Any) -> None:
    if not isinstance(array, np.ndarray | Rows):
        raise DataError(
            f"{name} is a {type(array).__name__}; expected an array, as numpy.asarray makes it"
        )


def _check_finite(name: str, array: np.ndarray | Rows, what: str) -> None:
    if array.dtype.kind != "f" or not array.size or getattr(array, "is_finite", False):
        return
    bad, largest = 0, 0.0
    for chunk in chunks(array):
        finite = np.isfinite(chunk)
        if finite.all():
            largest = max(largest, float(chunk.max()), -float(chunk.min()))
        else:
            bad += int((~finite).reshape(len(chunk), -1).any(axis=1).sum())
    if bad:
        raise DataError(f"{name} holds NaN or Inf in {bad} of {len(array)} {what}; remove or fill")
    if largest > np.finfo(np.float32).max:
        raise DataError(f"{name} holds values beyond what float32 can; scale them")
    if isinstance(array, Rows):  # a file that may be large is read for this once
        array.is_finite = True


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():
        files = [*path.glob("*.npy"), *path.glob("*/*.npy")]
        members = {str(file.relative_to(path).with_suffix("")): file for file in sorted(files)}
        return _named(path, list(members), lambda name: open_npy(members[name]))
    with open_npz(path, EXPECTED) as archive:
        return _named(path, archive.files, archive.__getitem__)


def _named(path: Path, members: list[str], read: Callable[[str], Any]) -> dict[str, Any]:
    """The arrays by the names of the arguments of :class:`Data`."""
    found: dict[str, Any] = {}
    for member in members:
        name, _, inner = member.partition("/")
        if name not in NAMES:
            continue
        if inner and name in members:
            raise DataError(f"{path}: has both {name} and {member}; expected one or the other")
        if inner:
            found.setdefault(name, {})[inner] = read(member)
        else:
            found[name] = read(member)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise DataError(
            f"{path}: has arrays {', '.join(members) or '(none)'}; {', '.join(missing)} missing of "
            f"{EXPECTED}"
        )
    return {"y_train": None, "y_test": None, **found}
