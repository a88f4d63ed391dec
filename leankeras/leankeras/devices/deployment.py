"""Shipping a file to a machine behind ssh: tried there first, then switched to in one step."""

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import numpy as np

from leankeras.arrays import Arrays, first
from leankeras.devices import trial
from leankeras.devices.agreement import Agreement, disagreement, judge
from leankeras.devices.ssh import Session, Target
from leankeras.devices.vectors import Vectors, make_vectors
from leankeras.errors import DeviceError
from leankeras.files import scratch_directory
from leankeras.runtime import median_interval

SECONDS = 3.0  # for the measurement
DRIFT = 0.075  # of a ratio from one measurement to the next, as on a virtual machine


@dataclass(frozen=True)
class Deployment:
    """What serves on a host now.

    Attributes:
        target: host and directory, as text.
        digest: SHA-256 of the file that serves; the directory has it as
            ``current/model.tflite``.
        replaced: the digest of the file that served before; None if there was none.
        changed: False if this very file was serving already.
        machine: the host's architecture, such as "aarch64"; empty after a rollback.
        agreement: how its answers differ from this machine's, by output.
        us: microseconds of one inference there.
        ratio: its latency over the slow file's, there, with its 95 % interval.
    """

    target: str
    digest: str
    replaced: str | None
    changed: bool = True
    machine: str = ""
    agreement: tuple[Agreement, ...] = ()
    us: float | None = None
    ratio: tuple[float, float, float] | None = None

    def __str__(self) -> str:
        before = f"instead of {self.replaced[:12]}" if self.replaced else "the first file there"
        lines = [
            f"{self.target}/current/model.tflite is {self.digest[:12]}, "
            + (before if self.changed else "as before")
        ]
        lines += [f"on {self.machine}: {each}" for each in self.agreement]
        if self.ratio:
            fast, low, high = (1 / self.ratio[k] for k in (0, 2, 1))
            lines.append(
                f"measured there: {self.us:.3g} µs, {fast:.3g}× [{low:.3g}, {high:.3g}] as fast "
                "as the slow file"
            )
        return "\n".join(lines)


def deploy(
    file: str | Path,
    target: str,
    samples: Arrays,
    slow: str | Path,
    install: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Deployment:
    """Ship a file to a host, try it there, and only then switch to it.

    The host needs an ssh server, Python 3.10 or newer, and numpy and ai-edge-litert (or
    ``install``). The file goes to a release of its own; it has to arrive with the right digest, to
    run, and to answer the test vectors as it does on this machine. Then the symbolic link
    ``current`` is renamed over the old one. If anything fails, at any moment, the old file keeps
    serving. One deployment at a time; the directory must be new, empty, or deployed to before.

    Args:
        file: the ``.tflite``.
        target: ``USER@HOST:DIRECTORY``, as ssh takes it.
        samples: test vectors, some of them are used; floats, or the file's own type.
        slow: the ``.tflite`` that its latency there is compared with.
        install: install the runtime in the directory if the host lacks it.
        say: receives each step in words.

    Raises:
        ParameterError: the target is not of that form.
        DeviceError: the host does not answer, lacks something, or the file does not work there.
        ModelError, DataError: the file cannot be deployed, or does not take the samples.

    Example:
        >>> deploy("final.tflite", "pi@camera:models", x_test, slow="slow.tflite")
    """
    place = Target.parse(target)
    vectors = make_vectors(file, samples)
    with scratch_directory() as folder:
        parts = _parts(folder, Path(file), vectors, Path(slow), samples)
        with Session(place, "install" if install else "deploy") as session:
            ready = session.hear("ready", "installing")
            if ready["step"] == "installing":
                say(f"{place.host}: installing numpy and ai-edge-litert")
                ready = session.hear("ready")
            say(f"{place.host}: sending {sum(map(len, parts.values())) / 1000:,.0f} kB")
            _send(session, parts)
            session.hear("trying")
            say(f"{place.host}: running {len(next(iter(vectors.inputs.values())))} test vectors")
            session.order(seconds=SECONDS)
            seen = session.hear("tried")
            agreement = judge(vectors, seen["differences"])
            if wrong := disagreement(agreement):
                raise DeviceError(f"{place.host}: {wrong}; the file that served before still does")
            ratio, us = _latency(seen["seconds"])
            note = {"from": f"{getuser()}@{socket.gethostname()}:{Path(file).resolve()}"}
            session.order(note={**note, "ratio": ratio[0], "us": us})
            done = session.hear("switched", "unchanged")
    changed = done["step"] == "switched"
    return Deployment(
        target=str(place),
        digest=done["digest"],
        replaced=ready["serving"] if changed else None,
        changed=changed,
        machine=ready["machine"],
        agreement=tuple(agreement),
        us=us,
        ratio=ratio,
    )


def rollback(target: str) -> Deployment:
    """Have a host serve the file again that it served before the current one.

    Args:
        target: ``USER@HOST:DIRECTORY``.

    Raises:
        ParameterError: the target is not of that form.
        DeviceError: the host does not answer, or there is no such file.
    """
    place = Target.parse(target)
    with Session(place, "rollback") as session:
        done = session.hear("switched")
    return Deployment(str(place), done["digest"], done["replaced"])


def _parts(
    folder: Path, file: Path, vectors: Vectors, slow: Path, samples: Arrays
) -> dict[str, bytes]:
    """The files to send, by name."""
    vectors.save(folder / "model.npz")
    make_vectors(slow, first(samples)).save(folder / "slow.npz")
    paths = {
        "model.tflite": file,
        "model.npz": folder / "model.npz",
        "slow.tflite": slow,
        "slow.npz": folder / "slow.npz",
        "trial.py": Path(trial.__file__),
    }
    return {name: path.read_bytes() for name, path in paths.items()}


def _send(session: Session, parts: dict[str, bytes]) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    session.order(files={name: [len(parts[name]), digests[name]] for name in parts})
    for content in parts.values():
        session.send(content)


def _latency(seconds: dict[str, list[float]]) -> tuple[tuple[float, float, float], float]:
    """The ratio to the slow file with its interval, and the file's own microseconds."""
    own, slow = np.array(seconds["model"]), np.array(seconds["slow"])
    return median_interval(own / slow, DRIFT), 1e6 * float(np.median(own))
