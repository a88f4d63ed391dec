"""A file that no device can run is refused in a line, before anything else."""

import pytest
import tensorflow as tf

from leankeras.devices import deploy, emulate, ethos_u, microcontroller, survey_devices
from leankeras.devices import emulation as emulation_module
from leankeras.devices import micro as micro_module
from leankeras.devices import npu as npu_module
from leankeras.devices.emulator import Emulator
from leankeras.errors import ModelError


@pytest.fixture(scope="module")
def flex(tmp_path_factory):
    """A file with an operator of TensorFlow itself."""
    module = tf.Module()
    module.call = tf.function(tf.math.erf, input_signature=[tf.TensorSpec((1, 4))])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.call.get_concrete_function()], module
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path_factory.mktemp("flex") / "flex.tflite"
    path.write_bytes(converter.convert())
    return path


CALLS = {
    "emulate": emulate,
    "microcontroller": microcontroller,
    "ethos_u": lambda file, samples: ethos_u(file),
    "survey": survey_devices,
    "deploy": lambda file, samples: deploy(file, "me@host:dir", samples, slow=file),
}


@pytest.mark.parametrize("call", list(CALLS))
def test_operators_of_tensorflow_itself_are_named(call, flex, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(emulation_module, "find_emulator", lambda: Emulator(tmp_path))
    monkeypatch.setattr(micro_module, "find_spec", lambda name: True)
    monkeypatch.setattr(npu_module, "find_spec", lambda name: True)
    with pytest.raises(ModelError, match=r"contains FlexErf.*, operators of TensorFlow") as refused:
        CALLS[call](flex, samples)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())
