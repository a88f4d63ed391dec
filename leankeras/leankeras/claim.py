"""Claims on a directory: a lock that knows its holder, and a job that only itself continues."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from leankeras.errors import KoptError
from leankeras.files import write_text

# The winner of a race writes its name a moment after it has the lock.
PATIENCE_SECONDS = 0.5


class NamedLock:
    """A lock that the system releases when its holder dies, however that happens.

    Args:
        path: the lock file; the holder's name is stored beside it, in ``path`` + ``.holder``.

    Example:
        >>> lock = NamedLock(Path("runs/signal/.lock"))
        >>> holder = lock.acquire("03_prune")  # None, or the holder
    """

    def __init__(self, path: Path):
        self._name = path.with_name(f"{path.name}.holder")
        # one lock per path in a process: a kernel may run its first cell again
        self._lock = FileLock(path, is_singleton=True)

    def acquire(self, name: str, patience: float = PATIENCE_SECONDS) -> str | None:
        """Take the lock under a name, or return its holder if it stays taken.

        Args:
            name: the name to leave for others.
            patience: how long to wait, in seconds.

        Returns:
            None, or the holder.

        Raises:
            OSError: the lock cannot be written; it is then not held.
        """
        try:
            self._lock.acquire(timeout=patience)
        except Timeout:
            return self.holder()
        try:
            self._name.write_text(f"{name} (process {os.getpid()})")
        except OSError:
            self.release()
            raise
        return None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._lock.is_locked

    def holder(self) -> str:
        """The last holder."""
        return self._name.read_text() if self._name.is_file() else "another process"

    def release(self) -> None:
        """Release the lock, however often it was taken."""
        self._lock.release(force=True)


def check_folder(
    folder: Path, kind: str, identity: dict[str, Any], resume: bool, failure: type[KoptError]
) -> None:
    """Refuse a directory that does not belong to this job; writes nothing.

    Args:
        folder: the directory.
        kind: "sweep" or "search".
        identity: what makes it this one, as it is kept in the file of that name.
        resume: whether it is to be continued.
        failure: the error to raise, which says what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise failure(f"{folder} is a file; expected a directory for the {kind}")
    known = folder / f"{kind}.json"
    if not known.exists():
        if resume:
            raise failure(f"{folder} holds no {kind} to continue; leave out --resume")
        if folder.exists() and any(folder.iterdir()):
            raise failure(f"{folder} is neither empty nor a {kind}; choose another --run-dir")
        return
    try:
        before = json.loads(known.read_text())
        changed = [name for name, value in identity.items() if before.get(name) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise failure(f"{known} is damaged ({error}); choose another --run-dir") from error
    if changed or before.keys() != identity.keys():
        raise failure(
            f"{folder} holds another {kind} (other {', '.join(changed) or 'settings'}); choose "
            "another --run-dir"
        )
    if not resume:
        raise failure(
            f"{folder} already holds this {kind}; continue with --resume or choose another "
            "--run-dir"
        )


@contextmanager
def claimed(
    folder: Path, kind: str, identity: dict[str, Any], failure: type[KoptError]
) -> Iterator[None]:
    """Create the directory and lock it against a second writer.

    Args:
        folder: the directory.
        kind: as in :func:`check_folder`.
        identity: likewise; it is written there.
        failure: the error to raise.
    """
    lock = NamedLock(folder.resolve() / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holder = lock.acquire(f"kopt {kind}")
        if holder:
            raise failure(f"{folder} is in use by {holder}; wait for it to finish")
        write_text(folder / f"{kind}.json", json.dumps(identity, indent=1), failure)
    except OSError as error:
        raise failure(
            f"{folder} cannot be written ({error.strerror}); choose another --run-dir"
        ) from error
    try:
        yield
    finally:
        lock.release()
