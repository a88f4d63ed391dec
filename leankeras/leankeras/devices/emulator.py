"""An emulated 64-bit ARM machine with LiteRT: QEMU, Debian's Python for it, and the wheels.

It is kept in a cache directory, under the digest of what was fetched. Debian's packages are checked
against its keyring by apt, whose own lists stay untouched; no root is needed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from leankeras.digest import digest
from leankeras.errors import DeviceError
from leankeras.files import remove

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
QEMU_SUITE, SUITE = "trixie", "bookworm"  # bookworm's own QEMU 7.2 crashes on LiteRT 2.3
PYTHON = "3.11"  # bookworm's
PACKAGES = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6", "zlib1g")
QEMU = "qemu-aarch64"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Emulator:
    """The emulated machine.

    Attributes:
        folder: its directory in the cache.
    """

    folder: Path

    def run(self, cpu: str, arguments: Sequence[str]) -> subprocess.CompletedProcess:
        """Run its Python on an emulated processor.

        Args:
            cpu: as QEMU names it.
            arguments: of Python.
        """
        command = [self.folder / QEMU, "-cpu", cpu, "-L", self.folder / "root"]
        python = self.folder / "root" / "usr" / "bin" / f"python{PYTHON}"
        return subprocess.run(
            [*command, python, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env={"PYTHONPATH": str(self.folder / "site"), "PATH": os.environ.get("PATH", "")},
        )


def cache() -> Path:
    """Where emulators are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kopt" / "emulator"


def find_emulator() -> Emulator | None:
    """The emulator that was installed last; None if there is none."""
    found = [path.parent for path in cache().glob(f"[!.]*/{MANIFEST}")]
    return Emulator(max(found, key=lambda folder: folder.stat().st_mtime)) if found else None


def install_emulator(say: Callable[[str], None] = lambda line: None) -> Emulator:
    """Fetch the emulator from Debian and PyPI (120 MB) into the cache, whole or not at all.

    Args:
        say: receives each step in words.

    Raises:
        DeviceError: a program is missing, something cannot be fetched, or it does not run.
    """
    _check_programs()
    partial = cache() / f".partial-{os.getpid()}"
    try:
        (partial / "root").mkdir(parents=True)
        say("fetching QEMU and Python for ARM from Debian")
        host = _checked(["dpkg", "--print-architecture"]).strip()
        fetched = {"qemu": _debian(partial / "apt-qemu", QEMU_SUITE, host, ["qemu-user"])}
        fetched["root"] = _debian(partial / "apt-root", SUITE, "arm64", PACKAGES)
        _unpack_qemu(
            next(deb for deb in fetched["qemu"] if deb.name.startswith("qemu-user_")), partial
        )
        for deb in fetched["root"]:
            _checked(["dpkg", "-x", str(deb), str(partial / "root")])
        say("fetching LiteRT and NumPy for ARM from PyPI")
        _wheels(partial / "site")
        say("trying it")
        run = Emulator(partial).run("cortex-a72", ["-c", "import ai_edge_litert.interpreter"])
        if run.returncode:
            raise DeviceError(f"the emulator does not run LiteRT ({_last_line(run.stderr)})")
        manifest = _manifest(partial, [deb for debs in fetched.values() for deb in debs])
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for folder in ("apt-qemu", "apt-root"):
            remove(partial / folder)
        name = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
        if not (cache() / name).exists():
            partial.rename(cache() / name)
        os.utime(cache() / name)
        return Emulator(cache() / name)
    except OSError as error:
        raise DeviceError(
            f"{cache()} cannot be written ({error.strerror or error}); free some space, or set "
            "XDG_CACHE_HOME to another directory"
        ) from error
    finally:
        remove(partial)


def _check_programs() -> None:
    missing = [name for name in ("apt-get", "dpkg", "dpkg-deb") if not shutil.which(name)]
    if missing or not KEYRING.is_file():
        raise DeviceError(
            f"no {', '.join([*missing, *([] if KEYRING.is_file() else [KEYRING.name])])} here; "
            "the emulator is put together from Debian's packages, which needs Debian or Ubuntu "
            "with the package debian-archive-keyring"
        )


def _debian(folder: Path, suite: str, architecture: str, packages: Sequence[str]) -> list[Path]:
    """Download packages and what they depend on, with lists and settings of their own."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Debug::NoLocking": "true",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _checked(["apt-get", *options, "-qq", "update"])
    _checked(["apt-get", *options, "-qq", "-y", "--download-only", "install", *packages])
    return sorted((folder / "archives").glob("*.deb"))


def _unpack_qemu(deb: Path, folder: Path) -> None:
    """Take the one program that is needed out of a package of forty."""
    with (
        subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE
        ) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if member.name == f"./usr/bin/{QEMU}":
                with (folder / QEMU).open("wb") as file:
                    shutil.copyfileobj(archive.extractfile(member), file)
                (folder / QEMU).chmod(0o755)


def _wheels(folder: Path) -> None:
    packages = [f"ai-edge-litert=={version('ai-edge-litert')}", "numpy"]
    common = ["--quiet", "--target", str(folder), "--python-version", PYTHON]
    common += ["--only-binary", ":all:", *packages]
    if uv := shutil.which("uv"):
        _checked([uv, "pip", "install", "--python-platform", "aarch64-manylinux_2_28", *common])
    else:
        platform = ["--platform", "manylinux_2_28_aarch64"]
        _checked([sys.executable, "-m", "pip", "install", *platform, *common])


def _manifest(folder: Path, debs: Sequence[Path]) -> dict[str, str]:
    """What was fetched: digests of packages, and of the lists of files in the wheels."""
    records = sorted((folder / "site").glob("*.dist-info/RECORD"))
    named = {deb.name: deb for deb in debs} | {path.parent.name: path for path in records}
    return {name: digest(path) for name, path in sorted(named.items())}


def _checked(command: Sequence[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if run.returncode:
        raise DeviceError(
            f"the emulator cannot be fetched: {Path(command[0]).name} said "
            f"{_last_line(run.stderr or run.stdout)!r}; it takes a connection to deb.debian.org "
            f"and PyPI, or a copy of {cache()} from another machine"
        )
    return run.stdout


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "nothing"
