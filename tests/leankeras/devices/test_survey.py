import json

import numpy as np
import pytest

from leankeras.devices import activation_memory, survey, survey_devices, tools
from leankeras.devices.agreement import Agreement
from leankeras.devices.emulation import Emulation
from leankeras.devices.micro import Microcontroller
from leankeras.devices.npu import NPUEstimate
from leankeras.errors import DataError, DeviceError, MissingPackageError


def test_what_is_not_installed_is_left_out_with_a_line(converted, samples, tmp_path, monkeypatch):
    def missing(*arguments):
        raise MissingPackageError("needs a package; install leankeras[micro]")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(survey, "microcontroller", missing)
    monkeypatch.setattr(survey, "ethos_u", missing)
    found = survey_devices(converted["int8"].path, samples)
    assert found.table.empty
    assert len(found.left_out) == 4
    assert "cortex-a72, emulated is left out: no emulator here" in str(found)
    assert not tools().there["emulator"]


def test_every_device_has_its_row_and_nothing_is_claimed_beyond(converted, samples, monkeypatch):
    equal = Agreement("output", "int8", 0.0, 0, 24, 0)
    apart = Agreement("output", "int8", 3.0, 2, 24, 0)

    def emulated(file, given, cpu):
        if cpu == "cortex-a53":
            raise DeviceError("it crashes there")
        return Emulation(cpu, (equal,))

    monkeypatch.setattr(survey, "emulate", emulated)
    micro = Microcontroller((), (apart,), 300 * 1024, 100_000, "MEAN (norm)")
    monkeypatch.setattr(survey, "microcontroller", lambda *_: micro)
    npu = NPUEstimate("ethos-u55-128", "a system", {"SOFTMAX": 1}, 9, 2048.0, 100.0, 0.5)
    monkeypatch.setattr(survey, "ethos_u", lambda *_: npu)
    found = survey_devices(converted["int8-io"].path, samples)
    assert found.left_out == ("cortex-a53, emulated is left out: it crashes there",)
    table = found.table
    assert table.same_answers["cortex-a72, emulated"] is True
    assert table.same_answers["Raspberry Pi Pico"] is False
    assert found.processors_agree
    monkeypatch.setattr(survey, "emulate", lambda file, given, cpu: Emulation(cpu, (apart,)))
    assert not survey_devices(converted["int8-io"].path, samples).processors_agree
    assert not table.fits["Raspberry Pi Pico"]
    assert table.fits["Raspberry Pi Pico 2"]
    assert table.parts_at["Raspberry Pi Pico"] == "MEAN (norm)"
    assert table.not_run_there["ethos-u55-128, estimated"] == "SOFTMAX"
    assert table.estimated_us.dropna().to_dict() == {"ethos-u55-128, estimated": 0.5}
    json.dumps(table.reset_index().to_dict("records"))  # as a record keeps it
    assert "NaN" not in found._repr_html_()


def test_samples_of_another_shape_are_no_reason_to_leave_a_device_out(
    converted, samples, monkeypatch
):
    def refuses(*arguments):
        raise DataError("input has shape (3,)")

    monkeypatch.setattr(survey, "emulate", refuses)
    with pytest.raises(DataError):
        survey_devices(converted["int8"].path, samples)


def test_activations_are_counted_without_constants(converted):
    memory = activation_memory(converted["float32"].path)
    conv = memory.loc["CONV_2D"]
    assert (conv.inputs, conv.outputs) == (4 * 16 * 2, 4 * 14 * 16)
    softmax = memory.loc["SOFTMAX"]
    assert (softmax.inputs, softmax.outputs) == (12, 12)
    small = activation_memory(converted["int8-io"].path)
    assert np.array_equal(small.loc["CONV_2D", ["inputs", "outputs"]], [16 * 2, 14 * 16])
