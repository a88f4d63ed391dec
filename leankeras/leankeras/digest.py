"""Digests of files and directories, to notice when one changes."""

import hashlib
import re
import zipfile
import zlib
from functools import lru_cache
from io import BytesIO
from pathlib import Path

# Keras identifies objects shared by layers by their memory addresses.
CHUNK_BYTES, LARGE_BYTES = 2**20, 2**28
SHARED_OBJECT = re.compile(rb'("shared_object_id": )(\d+)')


def digest(path: Path) -> str:
    """SHA-256 of a file's or directory's contents; equal models have equal digests.

    Of a single file it is what ``sha256sum`` prints. It ignores the date and the memory addresses
    that Keras stores in a ``.keras`` archive, and the ``fingerprint.pb`` of a SavedModel, which
    holds a random number. Files are read in chunks; large ones once, as long as their sizes and
    dates stay the same.
    """
    files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    states = sorted((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    if sum(size for _, size, _ in states) < LARGE_BYTES:
        return _digest(path)
    return _remembered(path, *states)


def _digest(path: Path, *states: tuple[str, int, int]) -> str:
    sha = hashlib.sha256()
    for name, content in sorted(_parts(path).items(), key=lambda part: part[0]):
        sha.update(name.encode() + b"\0" if name else b"")
        with content.open("rb") if isinstance(content, Path) else BytesIO(content) as file:
            while chunk := file.read(CHUNK_BYTES):
                sha.update(chunk)
    return sha.hexdigest()


_remembered = lru_cache(_digest)


def _parts(path: Path) -> dict[str, bytes | Path]:
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file() and p.name != "fingerprint.pb"]
        return {str(file.relative_to(path)): file for file in files}
    if path.suffix == ".keras":
        try:
            with zipfile.ZipFile(path) as archive:
                parts = {name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, zlib.error, EOFError):
            return {"": path}  # torn, so unlike any intact archive
        parts.pop("metadata.json", None)
        if "config.json" in parts:
            parts["config.json"] = _without_addresses(parts["config.json"])
        return parts
    return {"": path}


def _without_addresses(config: bytes) -> bytes:
    numbers: dict[bytes, int] = {}

    def number(match: re.Match[bytes]) -> bytes:
        return match[1] + b"%d" % numbers.setdefault(match[2], len(numbers))

    return SHARED_OBJECT.sub(number, config)
