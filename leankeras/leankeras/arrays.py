"""Sample arrays for a model, and named arrays in files: a user's, or those sent to a child."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from leankeras.errors import DataError, KoptError, one_line
from leankeras.files import is_git_lfs_pointer

Arrays = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]

LABELS = re.compile(r"(y|groups)(_|$|/)|x_(val|test)($|/)")  # arrays that are not inputs
ONLY = "only"  # the name of the array of a single input, where arrays go by names
PREFIX = "array_"  # a model's input may be named "file", like numpy.savez's own argument


def invent(shape: Sequence[int], dtype: Any, generator: np.random.Generator) -> np.ndarray:
    """Values for when the user gives none: standard normal, or 0 and 1 for integers."""
    if np.dtype(dtype).kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    # Integers are mostly indices; 0 and 1 exist in every vocabulary.
    return generator.integers(0, 2, shape).astype(dtype)


def identifier(name: object) -> str:
    """The name of an input or output as a file's signature spells it: ``a b`` as ``a_b``."""
    return re.sub(r"\W", "_", str(name))


def load_samples(path: str | Path, part: str = "train") -> Arrays | None:
    """Read only the samples of an ``.npz`` that may hold other arrays; labels are ignored.

    Args:
        path: the file. For one input the samples are the array ``x_train``, or ``x``, or the only
            array; for several they are ``x_train/NAME`` or ``x/NAME`` for each, or just ``NAME``,
            or ``arr_0``, ``arr_1``, ... in the order of the inputs.
        part: ``"test"`` for ``x_test``, which may be absent.

    Returns:
        An array, or arrays by input name or in order; None if the file has no such part.

    Raises:
        DataError: the file does not exist, or holds something other than plain arrays.
    """
    what = "x_train, or x, or an array for each input"
    with open_npz(Path(path), what) as archive:
        names = archive.files
        for main in ("x_train", "x") if part == "train" else (f"x_{part}",):
            if main in names:
                return archive[main]
            named = [name for name in names if name.startswith(f"{main}/")]
            if named:
                return {name.partition("/")[2]: archive[name] for name in named}
        if part != "train":
            return None
        inputs = [name for name in names if not LABELS.match(name)]
        if not inputs:
            raise DataError(f"{path}: has arrays {', '.join(names) or '(none)'}; expected {what}")
        arrays = {name: archive[name] for name in inputs}
    if all(re.fullmatch(r"arr_\d+", name) for name in arrays):
        ordered = sorted(arrays, key=lambda name: int(name[4:]))
        arrays = [arrays[name] for name in ordered]
        return arrays[0] if len(arrays) == 1 else arrays
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def first(samples: Arrays) -> Arrays:
    """The first sample, with a batch axis of 1."""
    return each_array(samples, lambda array: array[:1])


def each_array(samples: Arrays, change: Callable[[np.ndarray], Any]) -> Any:
    """A function of every array, in the same structure."""
    if isinstance(samples, Mapping):
        return {name: change(array) for name, array in samples.items()}
    return [change(a) for a in samples] if isinstance(samples, list | tuple) else change(samples)


def joined(parts: Sequence[Arrays]) -> Any:
    """One array of several, end to end; of arrays by name, one for each name."""
    if isinstance(parts[0], Mapping):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def repeated(sample: Arrays, times: int) -> Any:
    """A batch that holds one sample several times."""
    return each_array(sample, lambda array: np.repeat(array, times, axis=0))


def count_samples(samples: Arrays) -> int:
    """How many samples there are."""
    return len(named_or_listed(samples)[0])


def named_or_listed(samples: Arrays, names: Sequence[str] | None = None) -> list[Any]:
    """The arrays in samples, in the order of the inputs' names if they are given.

    Raises:
        DataError: the names or the number of arrays differ.
    """
    if isinstance(samples, Mapping):
        given = {identifier(name): array for name, array in samples.items()}
        wanted = list(given) if names is None else [identifier(name) for name in names]
        listed = [given[name] for name in wanted] if set(wanted) == set(given) else []
        seen = ", ".join(samples)
    else:
        listed = list(samples) if isinstance(samples, list | tuple) else [samples]
        seen = f"{len(listed)} input(s)"
    if names is not None and len(listed) != len(names):
        raise DataError(f"samples for {seen}; the inputs are {', '.join(names)}")
    return listed


@contextmanager
def open_npz(path: Path, expected: str) -> Iterator[np.lib.npyio.NpzFile]:
    """Open an untrusted ``.npz`` without unpickling; anything wrong with it is a DataError.

    Args:
        path: the file.
        expected: a description of the arrays it should hold.
    """
    if not path.is_file():
        seen = "a directory" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {seen}; expected an .npz with {expected}")
    if is_git_lfs_pointer(path):
        raise DataError(f"{path}: a Git LFS pointer, not the arrays; fetch them with git lfs pull")
    how = "write it with numpy.savez_compressed(path, name=array, ...)"
    if not is_zipfile(path):  # else NumPy would take it for a pickle
        raise DataError(f"{path}: not a readable .npz (no archive of arrays); {how}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except KoptError:
        raise
    except Exception as error:  # damage raises anything from EOFError to MemoryError
        reason = one_line(error).partition(" when allow_pickle")[0]
        raise DataError(f"{path}: not a readable .npz of plain arrays ({reason}); {how}") from error


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays with any names to an ``.npz``."""
    np.savez(path, **{PREFIX + name: array for name, array in arrays.items()})


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read what :func:`write_arrays` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {name.removeprefix(PREFIX): archive[name] for name in archive.files}
