import subprocess
import sys

import numpy as np
import pytest

from leankeras.conversion.tflite import convert
from leankeras.errors import DataError
from leankeras.runtime import latency
from leankeras.runtime import litert_settings as runtime_settings

SAMPLE = np.zeros((1, 16, 2), np.float32)
DEFAULT = ("XNNPACK", 1, "the file's type")
BUILT_IN = ("built-in", 1, "the file's type")
TWO_THREADS = ("XNNPACK", 2, "the file's type")
IN_NUMPY = ("XNNPACK", 1, "floats, converted by NumPy")


@pytest.fixture
def files(small_model, blobs, tmp_path):
    return {
        mode: convert(small_model, tmp_path / f"{mode}.tflite", mode, blobs.x_train).path
        for mode in ("float32", "int8-io")
    }


def measure(files, monkeypatch, free_core):
    """The table with a second core always or never free, by file and setting."""
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.02)
    monkeypatch.setattr(runtime_settings, "BUSY_CPU_SHARE", 0)
    monkeypatch.setattr(runtime_settings, "FREE_CORE", free_core)
    table = runtime_settings.runtime_settings(files, SAMPLE)
    return table.set_index(["file", "kernels", "threads", "input"])


def test_each_setting_is_held_against_the_files_own_default(files, monkeypatch):
    table = measure(files, monkeypatch, free_core=-np.inf)
    assert list(table.loc["float32"].index) == [DEFAULT, BUILT_IN, TWO_THREADS]
    assert list(table.loc["int8-io"].index) == [DEFAULT, BUILT_IN, TWO_THREADS, IN_NUMPY]
    for name in files:
        row = table.loc[(name, *DEFAULT)]
        assert row[["ratio", "ratio_low", "ratio_high", "verdict"]].tolist() == [
            1, 1, 1, "reference",
        ]  # fmt: skip
    assert (table.ratio_low <= table.ratio).all()
    assert (table.ratio <= table.ratio_high).all()
    assert set(table.verdict) <= {"reference", "faster", "slower", "cannot tell"}
    # four NumPy calls around one inference always take some time
    assert table.loc[("int8-io", *IN_NUMPY)].verdict == "slower"


def test_two_threads_get_no_figure_without_a_second_core(files, monkeypatch):
    table = measure(files, monkeypatch, free_core=np.inf)
    threads = table.index.get_level_values("threads")
    figures = table[["us", "ratio", "ratio_low", "ratio_high"]]
    assert figures[threads == 2].isna().all(axis=None)
    assert figures[threads == 1].notna().all(axis=None)
    assert set(table.verdict[threads == 2]) == {"cannot tell: core busy"}


def test_a_busy_machine_cannot_tell(files, monkeypatch):
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.01)
    monkeypatch.setattr(runtime_settings, "BUSY_CPU_SHARE", 1.1)
    table = runtime_settings.runtime_settings(files, SAMPLE)
    assert set(table.verdict) == {"reference", "cannot tell: core busy"}


def test_a_sample_that_does_not_fit_is_refused(files):
    with pytest.raises(DataError, match=r"has shape \(1, 3, 2\); expected \(16, 2\)"):
        runtime_settings.runtime_settings(files, SAMPLE[:, :3])


def test_tensorflow_is_not_imported():
    code = (
        "import sys, leankeras.runtime.litert_settings;"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
