"""Where a converted model is made and where it is put, checked before the work."""

import errno
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from kopt.errors import ConversionError, ParameterError


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory to work in that is removed afterwards.

    Raises:
        ConversionError: there is no room for it.
    """
    try:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise ConversionError(
            f"no room to work in {tempfile.gettempdir()} ({error.strerror}); free some, or name "
            "another directory in TMPDIR"
        ) from error


def check_place(path: Path, endings: Collection[str]) -> None:
    """Refuse a place of a wrong ending, or one that is taken or cannot be written to.

    Args:
        path: where a file goes, or without an ending the directory of a SavedModel.
        endings: those allowed, an empty one for a SavedModel.

    Raises:
        ParameterError: naming what stands there, or what is missing.
    """
    if path.suffix not in endings:
        known = " or ".join(ending or "nothing (for a SavedModel)" for ending in endings)
        raise ParameterError(f"{path}: expected a name that ends in {known}")
    if path.parent.is_file():
        raise ParameterError(f"{path.parent} is a file; expected a directory to write to")
    if not path.parent.is_dir():
        raise ParameterError(f"{path.parent}: no such directory; create it first")
    try:  # permissions alone do not tell: the file system may be read-only
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ParameterError(
            f"{path.parent} cannot be written to ({error.strerror}); choose another directory"
        ) from error
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ParameterError(f"{path} is a device; expected the name of a file or directory")
    if path.suffix and path.is_dir():
        raise ParameterError(f"{path} is a directory; expected the name of a file to write")
    if not path.suffix and path.is_file():
        raise ParameterError(f"{path} is a file; expected the name of a directory to write")
    if not path.suffix and path.is_dir() and not _is_replaceable(path):
        raise ParameterError(
            f"{path} is a directory with other things in it; expected a new name, an empty "
            "directory, or a SavedModel to replace"
        )


def _is_replaceable(directory: Path) -> bool:
    return (directory / "saved_model.pb").is_file() or not any(directory.iterdir())
