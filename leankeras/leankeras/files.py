"""Output files: their path is checked before the work; they are written whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from leankeras.errors import ConversionError, KoptError, ParameterError

GIT_LFS = b"version https://git-lfs"
MODEL_ENDINGS = (".keras", ".h5", ".hdf5")


def write_atomically(
    path: Path, write: Callable[[Path], Any], failure: type[KoptError] = KoptError
) -> None:
    """Let ``write`` fill a temporary path, and rename it once it is complete.

    Whatever happens, the path holds either its old content or the new. The temporary name keeps
    the suffix, which tells Keras what to write.

    Args:
        path: the file, or the directory if ``write`` makes one.
        write: takes the temporary path.
        failure: the error to raise if it cannot be written.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise failure(f"{path} is a device; expected the name of a file")
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    aside = path.with_name(f".{os.getpid()}-old-{path.name}")
    try:
        write(temporary)
        if path.is_dir():
            if not temporary.is_dir():
                raise failure(f"{path} is a directory; expected the name of a file")
            os.rename(path, aside)  # nothing can be renamed onto a directory that is not empty
        os.replace(temporary, path)
    except OSError as error:
        raise failure(
            f"{path} cannot be written ({error.strerror or error}); any old content is unchanged"
        ) from error
    finally:
        if aside.exists() and not path.exists():
            os.rename(aside, path)
        for left in (temporary, aside):
            remove(left)


def write_text(path: Path, text: str, failure: type[KoptError] = KoptError) -> None:
    """Write a text in UTF-8, as :func:`write_atomically` does."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), failure)


def copy(source: Path, target: Path) -> None:
    """Copy a file or a directory to a path that does not exist yet."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def remove(path: Path) -> None:
    """Remove a file or a directory if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with suppress(NotADirectoryError):  # a file where a directory should be: nothing was left
            path.unlink(missing_ok=True)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A temporary directory to work in, removed afterwards.

    Raises:
        ConversionError: there is no space for it.
    """
    try:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise ConversionError(
            f"no space to work in {tempfile.gettempdir()} ({error.strerror}); free some, or set "
            "TMPDIR to another directory"
        ) from error


def is_git_lfs_pointer(path: Path) -> bool:
    """Whether a file is the pointer that Git LFS leaves in place of a large file."""
    with path.open("rb") as file:
        return file.read(len(GIT_LFS)) == GIT_LFS


def check_place(path: Path, endings: Collection[str]) -> None:
    """Refuse a path that has a wrong ending, is taken or cannot be written to.

    Args:
        path: where a file goes; without an ending, the directory of a SavedModel.
        endings: the allowed endings; an empty one allows a SavedModel.

    Raises:
        ParameterError: the message names what is in the way, or what is missing.
    """
    if path.suffix not in endings:
        known = " or ".join(ending or "nothing (for a SavedModel)" for ending in endings)
        raise ParameterError(f"{path}: expected a name that ends in {known}")
    if path.parent.is_file():
        raise ParameterError(f"{path.parent} is a file; expected a directory to write to")
    if not path.parent.is_dir():
        raise ParameterError(f"{path.parent}: no such directory; create it first")
    try:  # permissions alone are not enough: the file system may be read-only
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
            f"{path} is a directory with other files in it; expected a new name, an empty "
            "directory, or a SavedModel to replace"
        )


def _is_replaceable(directory: Path) -> bool:
    return (directory / "saved_model.pb").is_file() or not any(directory.iterdir())
