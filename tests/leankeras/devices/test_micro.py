from importlib.util import find_spec

import keras
import numpy as np
import pytest

from leankeras.conversion import convert
from leankeras.devices import BOARDS, ethos_u, microcontroller
from leankeras.devices import micro as micro_module
from leankeras.devices import npu as npu_module
from leankeras.errors import DataError, DeviceError, MissingPackageError, ModelError, ParameterError

needs_micro = pytest.mark.skipif(not find_spec("tflite_micro"), reason="tflite-micro is missing")
needs_vela = pytest.mark.skipif(not find_spec("ethosu"), reason="ethos-u-vela is missing")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A network of convolutions, which TFLite Micro's reference kernels round as LiteRT does."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16, 2))
    x = keras.layers.Conv1D(8, 3, activation="relu")(inputs)
    outputs = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(x))
    folder = tmp_path_factory.mktemp("plain")
    x = np.random.default_rng(0).normal(size=(24, 16, 2)).astype("float32")
    model = keras.Model(inputs, outputs, name="plain")
    return convert(model, folder / "plain.tflite", "int8-io", x).path, x


@needs_micro
def test_a_file_runs_with_the_same_answers_in_a_small_arena(plain):
    file, samples = plain
    found = microcontroller(file, samples)
    assert found.runs
    assert found.same_answers
    assert found.agreement[0].largest <= 1
    assert found.flash_bytes == file.stat().st_size
    # its largest two tensors at least, and a lot less than the boards have
    assert 16 * 2 + 14 * 8 < found.arena_bytes < 32_000
    assert found.boards.fits.all()
    assert set(found.boards.index) == set(BOARDS)
    assert f"arena {found.arena_bytes:,} bytes" in str(found)


@needs_micro
def test_other_answers_are_traced_to_an_operator(converted, samples):
    """The variance in this layer normalization takes other roundings there, by several steps."""
    found = microcontroller(converted["int8-io"].path, samples)
    assert not found.same_answers
    assert found.parts_at.startswith("MEAN (")
    assert microcontroller(converted["float32"].path, samples).same_answers


@needs_micro
def test_operators_that_do_not_exist_there_are_named(tmp_path):
    inputs = keras.Input((8, 8, 2))
    x = keras.ops.top_k(keras.layers.Flatten()(inputs), 4)[0]
    y = keras.ops.top_k(keras.ops.cumsum(x, axis=1), 2)[0]
    file = convert(keras.Model(inputs, y), tmp_path / "top.tflite", "float32").path
    found = microcontroller(file, np.zeros((2, 8, 8, 2), "float32"))
    assert found.lacking == ("TOPK_V2",)
    assert not found.runs
    assert not found.same_answers
    assert not found.boards.fits.any()
    assert str(found) == "TFLite Micro does not run it: it has no TOPK_V2"
    with pytest.raises(DeviceError, match="Raspberry Pi Pico: TFLite Micro does not run it"):
        microcontroller(file, np.zeros((2, 8, 8, 2), "float32"), board="Raspberry Pi Pico")


@needs_micro
def test_a_board_without_room_is_a_line(tmp_path):
    model = keras.Sequential([keras.Input((64, 64, 4)), keras.layers.Conv2D(4, 3)])
    file = convert(model, tmp_path / "big.tflite", "float32").path
    with pytest.raises(DeviceError, match=r"UNO R4 Minima: the arena takes \d+ kB; the RAM has 32"):
        microcontroller(file, np.zeros((1, 64, 64, 4), "float32"), board="Arduino UNO R4 Minima")


@needs_micro
def test_a_crash_is_a_line(plain, monkeypatch):
    monkeypatch.setattr(micro_module, "Child", Crashing)
    with pytest.raises(DeviceError, match="TFLite Micro was killed by signal 6"):
        microcontroller(*plain)


class Crashing(micro_module.Child):
    def request(self, job, **arguments):
        raise micro_module.ChildDied("was killed by signal 6 (SIGABRT)", "")


def test_what_is_no_board_or_file_is_refused(plain, tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="saw 'Pico'; expected Arduino"):
        microcontroller(*plain, board="Pico")
    monkeypatch.setattr(micro_module, "find_spec", lambda name: True)
    with pytest.raises(DataError, match="has shape"):
        microcontroller(plain[0], plain[1][:, :3])
    with pytest.raises(ModelError, match="no such file"):
        microcontroller(tmp_path / "none.tflite", plain[1])
    monkeypatch.setattr(micro_module, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"install leankeras\[micro\]"):
        microcontroller(*plain)


@needs_vela
def test_an_npu_takes_integers_and_leaves_floats(converted):
    npu = ethos_u(converted["int8-io"].path)
    assert npu.on_cpu == {}
    assert min(npu.us, npu.cycles, npu.sram_bytes) > 0
    ends = ethos_u(converted["int8"].path)
    assert ends.on_cpu == {"QUANTIZE": 1, "DEQUANTIZE": 1}
    floats = ethos_u(converted["float32"].path)
    assert sum(floats.on_cpu.values()) == floats.operators
    for found in (npu, ends, floats):
        assert "estimated by Vela" in str(found)


@needs_vela
def test_a_smaller_npu_is_estimated_to_take_more_cycles(plain):
    assert ethos_u(plain[0], "ethos-u55-32").cycles > ethos_u(plain[0], "ethos-u55-256").cycles


def test_what_is_no_npu_or_file_is_refused(plain, tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="saw 'ethos-n78'; expected ethos-u55-32"):
        ethos_u(plain[0], "ethos-n78")
    monkeypatch.setattr(npu_module, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"install leankeras\[micro\]"):
        ethos_u(plain[0])
    monkeypatch.setattr(npu_module, "find_spec", lambda name: True)
    (tmp_path / "other.tflite").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"not a \.tflite"):
        ethos_u(tmp_path / "other.tflite")
