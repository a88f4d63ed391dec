"""Files and directories that are written whole or not at all."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kopt.errors import KoptError, WorkspaceError


def write_atomically(
    path: Path, write: Callable[[Path], Any], failure: type[KoptError] = WorkspaceError
) -> None:
    """Let ``write`` fill a temporary path and give it its name once it is whole.

    Whatever happens, what stood there before is there still, or the new one is. The temporary
    name keeps the suffix, which tells Keras what to write.

    Args:
        path: of a file, or of a directory if ``write`` makes one.
        write: takes the temporary path.
        failure: the kind of error that tells why it cannot be written.
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
            os.rename(path, aside)  # nothing can be renamed onto a directory that holds something
        os.replace(temporary, path)
    except OSError as error:
        raise failure(
            f"{path} cannot be written ({error.strerror or error}); what stood there is unchanged"
        ) from error
    finally:
        if aside.exists() and not path.exists():
            os.rename(aside, path)
        for left in (temporary, aside):
            remove(left)


def copy(source: Path, target: Path) -> None:
    """Copy a file or a directory to where nothing is yet."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def remove(path: Path) -> None:
    """Remove a file or a directory, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with suppress(NotADirectoryError):  # a file where a directory should be: nothing was left
            path.unlink(missing_ok=True)
