"""A lock on a run directory that knows who holds it."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

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
