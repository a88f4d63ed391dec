"""What a file holds, in a line of hexadecimal, so that a change of it is noticed."""

import hashlib
import re
import zipfile
import zlib
from pathlib import Path

# Keras numbers objects that layers share by where they happen to lie in memory.
SHARED_OBJECT = re.compile(rb'("shared_object_id": )(\d+)')


def digest(path: Path) -> str:
    """SHA-256 of a file's or directory's contents; equal models have equal ones.

    Of a ``.keras`` archive, its date and the addresses that Keras leaves in it do not count.
    """
    sha = hashlib.sha256()
    for name, content in sorted(_parts(path).items()):
        sha.update(name.encode() + b"\0" + content)
    return sha.hexdigest()


def _parts(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    if path.suffix == ".keras":
        try:
            with zipfile.ZipFile(path) as archive:
                parts = {name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, zlib.error, EOFError):
            return {"": path.read_bytes()}  # torn, and so unlike every whole one
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
