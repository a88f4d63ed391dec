"""Digests of files and directories, to notice when one changes."""

import hashlib
import re
import zipfile
import zlib
from pathlib import Path

# Keras identifies objects shared by layers by their memory addresses.
SHARED_OBJECT = re.compile(rb'("shared_object_id": )(\d+)')


def digest(path: Path) -> str:
    """SHA-256 of a file's or directory's contents; equal models have equal digests.

    Ignores the date and the memory addresses that Keras stores in a ``.keras`` archive, and the
    ``fingerprint.pb`` of a SavedModel, which holds a random number.
    """
    sha = hashlib.sha256()
    for name, content in sorted(_parts(path).items()):
        sha.update(name.encode() + b"\0" + content)
    return sha.hexdigest()


def _parts(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file() and p.name != "fingerprint.pb"]
        return {str(file.relative_to(path)): file.read_bytes() for file in files}
    if path.suffix == ".keras":
        try:
            with zipfile.ZipFile(path) as archive:
                parts = {name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, zlib.error, EOFError):
            return {"": path.read_bytes()}  # torn, so unlike any intact archive
        parts.pop("metadata.json", None)
        if "config.json" in parts:
            parts["config.json"] = _without_addresses(parts["config.json"])
        return parts
    return {"": path.read_bytes()}


def _without_addresses(config: bytes) -> bytes:
    numbers: dict[bytes, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        return match[1] + b"%d" % numbers.setdefault(match[2], len(numbers))

    return SHARED_OBJECT.sub(number, config)
