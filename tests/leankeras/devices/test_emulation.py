import os
from pathlib import Path

import numpy as np
import pytest

from leankeras.devices import emulate, emulation, emulator, find_emulator, install_emulator, trial
from leankeras.devices.agreement import judge
from leankeras.devices.emulator import Emulator
from leankeras.devices.vectors import make_vectors
from leankeras.errors import DataError, DeviceError, ModelError, ParameterError

needs_emulator = pytest.mark.skipif(
    find_emulator() is None, reason="the ARM emulator is not installed (kopt devices --install)"
)


@needs_emulator
def test_an_int8_file_answers_to_the_last_bit_and_no_time_is_stated(converted, samples):
    done = emulate(converted["int8-io"].path, samples[:4])
    assert done.same_answers
    assert [(each.type, each.differing, each.values) for each in done.agreement] == [
        ("int8", 0, 12)
    ]
    assert "no latency" in str(done)
    assert "µs" not in str(done)


@needs_emulator
def test_a_float_file_answers_within_rounding(converted, samples):
    done = emulate(converted["float32"].path, samples[:4], cpu="max")
    assert done.same_answers
    assert 0 <= done.agreement[0].largest < 1e-5


def test_where_answers_part_is_named(converted, samples, monkeypatch):
    """A machine that computes everything right but probabilities: that operator is found."""

    def run_there(there, cpu, file, vectors):
        differences = {}
        for index, expected in vectors.outputs.items():
            probabilities = np.allclose(expected.sum(axis=-1), 1)
            seen = expected + 0.1 if probabilities else expected
            differences[str(index)] = trial.difference(expected, seen)
        return judge(vectors, differences)

    monkeypatch.setattr(emulation, "find_emulator", lambda: Emulator(Path("nowhere")))
    monkeypatch.setattr(emulation, "_run", run_there)
    done = emulate(converted["float32"].path, samples[:2])
    assert not done.same_answers
    assert done.parts_at == "SOFTMAX"
    assert "cortex-a72: other results from SOFTMAX on" in str(done)


@needs_emulator
def test_a_file_that_crashes_there_is_a_line(converted, samples, monkeypatch):
    monkeypatch.setattr(
        Emulator,
        "run",
        lambda self, cpu, arguments, run=Emulator.run: run(self, cpu, ["-c", "1/0"]),
    )
    with pytest.raises(DeviceError, match=r"does not run on an emulated max .ZeroDivisionError"):
        emulate(converted["float32"].path, samples[:2], cpu="max")


def test_what_cannot_be_emulated_is_refused(converted, samples, tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="saw 'cortex-m4'; expected cortex-a53"):
        emulate(converted["int8"].path, samples, cpu="cortex-m4")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match="no emulator here; install it with: kopt devices"):
        emulate(converted["int8"].path, samples)
    monkeypatch.setattr(emulation, "find_emulator", lambda: Emulator(tmp_path))
    with pytest.raises(DataError, match="has shape"):
        emulate(converted["int8"].path, samples[:, :4])
    with pytest.raises(ModelError, match="no such file"):
        emulate(tmp_path / "none.tflite", samples)


@pytest.mark.parametrize("fault", ["no network", "no apt", "no room"])
def test_an_installation_that_fails_leaves_nothing(fault, tmp_path, monkeypatch):
    home = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    if fault == "no network":
        if not (emulator.KEYRING.is_file() and Path("/usr/bin/apt-get").is_file()):
            pytest.skip("apt-get or debian-archive-keyring is not installed")
        monkeypatch.setattr(emulator, "MIRROR", "http://127.0.0.1:9/debian")
        expected = "cannot be fetched: apt-get said .*takes a connection to deb.debian.org"
    elif fault == "no apt":
        monkeypatch.setenv("PATH", os.fspath(tmp_path))
        expected = "no apt-get, dpkg, dpkg-deb here; .* needs Debian or Ubuntu"
    else:
        home.write_text("")
        expected = r"cache/kopt/emulator cannot be written|no apt-get"
    with pytest.raises(DeviceError, match=expected) as failed:
        install_emulator()
    assert len(str(failed.value).splitlines()) == 1
    assert find_emulator() is None
    assert not home.is_dir() or not list((home / "kopt" / "emulator").glob("*"))


def test_the_emulator_installed_last_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for age, name in enumerate(("new", "old", ".partial-1")):
        folder = emulator.cache() / name
        folder.mkdir(parents=True)
        (folder / emulator.MANIFEST).write_text("{}")
        os.utime(folder, (1000 - age, 1000 - age))
    (emulator.cache() / "unfinished").mkdir()
    assert find_emulator().folder.name == "new"


def test_vectors_keep_what_a_file_takes_and_gives(converted, samples):
    vectors = make_vectors(converted["int8-io"].path, samples, limit=3)
    (given,), (answers,) = vectors.inputs.values(), vectors.outputs.values()
    assert (given.dtype, given.shape) == (np.dtype("int8"), (3, 16, 2))
    assert (answers.dtype, answers.shape) == (np.dtype("int8"), (3, 1, 3))
