"""A directory that one long job writes, such as a search, and that only the same job continues."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leankeras.errors import KoptError
from leankeras.files import write_text


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
    folder: Path, kind: str, identity: dict[str, Any], lock: Any, failure: type[KoptError]
) -> Iterator[None]:
    """Create the directory and lock it against a second writer.

    Args:
        folder: the directory.
        kind: as in :func:`check_folder`.
        identity: likewise; it is written there.
        lock: one whose ``acquire(name)`` returns its holder if it is taken, and ``release``.
        failure: the error to raise.
    """
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
