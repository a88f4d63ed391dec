"""A directory that one sweep or search writes, and that only the same one continues."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kopt.errors import WorkspaceError
from kopt.workspace.lock import NamedLock
from leankeras.files import write_text


def check_folder(folder: Path, kind: str, identity: dict[str, Any], resume: bool) -> None:
    """Refuse a directory that does not belong to this sweep or search; writes nothing.

    Args:
        folder: the directory.
        kind: "sweep" or "search".
        identity: what makes it this one, as it is kept in the file of that name.
        resume: whether it is to be continued.

    Raises:
        WorkspaceError: says what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise WorkspaceError(f"{folder} is a file; expected a directory for the {kind}")
    known = folder / f"{kind}.json"
    if not known.exists():
        if resume:
            raise WorkspaceError(f"{folder} holds no {kind} to continue; leave out --resume")
        if folder.exists() and any(folder.iterdir()):
            raise WorkspaceError(
                f"{folder} is neither empty nor a {kind}; choose another --run-dir"
            )
        return
    try:
        before = json.loads(known.read_text())
        changed = [name for name, value in identity.items() if before.get(name) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise WorkspaceError(f"{known} is damaged ({error}); choose another --run-dir") from error
    if changed or before.keys() != identity.keys():
        raise WorkspaceError(
            f"{folder} holds another {kind} (other {', '.join(changed) or 'settings'}); choose "
            "another --run-dir"
        )
    if not resume:
        raise WorkspaceError(
            f"{folder} already holds this {kind}; continue with --resume or choose another "
            "--run-dir"
        )


@contextmanager
def claimed(folder: Path, kind: str, identity: dict[str, Any]) -> Iterator[None]:
    """Create the directory and lock it against a second writer."""
    lock = NamedLock(folder.resolve() / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        holder = lock.acquire(f"kopt {kind}")
        if holder:
            raise WorkspaceError(f"{folder} is in use by {holder}; wait for it to finish")
        write_text(folder / f"{kind}.json", json.dumps(identity, indent=1), WorkspaceError)
    except OSError as error:
        raise WorkspaceError(
            f"{folder} cannot be written ({error.strerror}); choose another --run-dir"
        ) from error
    try:
        yield
    finally:
        lock.release()
