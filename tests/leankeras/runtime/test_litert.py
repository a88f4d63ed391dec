import subprocess
import sys

import numpy as np
import pytest

from leankeras.errors import DataError, ModelError
from leankeras.runtime.litert import LiteRTModel


@pytest.mark.parametrize("mode", ["float32", "int8", "int8-io"])
def test_one_sample_equals_its_place_in_a_batch(converted, samples, mode):
    model = LiteRTModel(converted[mode].path)
    batch = model(samples[:5])
    assert batch.shape == (5, 3)
    assert batch.dtype == np.float32
    assert np.array_equal(model(samples[3]), batch[3])
    assert np.array_equal(model({"x": samples[3:4]}), batch[3:4])


def test_integer_inputs_are_quantized_as_the_file_says(converted, samples):
    model = LiteRTModel(converted["int8-io"].path)
    scale, zero_point = model.input_details["x"]["quantization"]
    by_hand = np.clip(np.round(samples / scale) + zero_point, -128, 127).astype("int8")
    assert np.array_equal(model(by_hand), model(samples))


def test_bound_call_returns_the_raw_outputs(converted, samples):
    model = LiteRTModel(converted["int8-io"].path)
    (raw,) = model.bind(samples[:1])()
    assert raw.dtype == np.int8
    scale, zero_point = model.output_details["output"]["quantization"]
    assert np.allclose((raw.astype("float32") - zero_point) * scale, model(samples[:1]))


def test_delegate_and_builtin_kernels_agree(converted, samples):
    path = converted["float32"].path
    assert np.allclose(
        LiteRTModel(path)(samples), LiteRTModel(path, xnnpack=False)(samples), atol=1e-5
    )


def test_a_kept_tensor_is_the_result_of_its_layer(converted, samples, model):
    import keras

    operators = converted["float32"].operators
    row = operators.index[(operators.layer == "hidden") & (operators.operator != "RESHAPE")][-1]
    from leankeras.runtime.flatbuffer import TFLiteFile

    output = TFLiteFile(converted["float32"].path).operators[row].outputs[0]
    runner = LiteRTModel(converted["float32"].path, keep_tensors=True)
    runner(samples[:1])
    hidden = keras.Model(model.input, model.get_layer("hidden").output)(samples[:1])
    assert np.allclose(runner.tensor(output), hidden, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 16, 3)), r"expected \(16, 2\)"),
        (np.zeros((0, 16, 2)), "expected equal numbers, > 0"),
        ({"y": np.zeros((1, 16, 2))}, "this file takes x"),
        ([np.zeros((1, 16, 2))] * 2, "this file takes x"),
    ],
)
def test_wrong_inputs_are_named(converted, x, message):
    with pytest.raises(DataError, match=message):
        LiteRTModel(converted["float32"].path)(x)


@pytest.mark.parametrize("length", [0, 6, 30, 2000])
def test_damaged_files_are_refused(converted, tmp_path, length):
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(converted["float32"].path.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"damaged\.tflite"):
        LiteRTModel(damaged)


def test_neither_tensorflow_nor_keras_is_imported(converted):
    code = (
        "import sys, numpy, leankeras.runtime.litert as litert;"
        f"litert.LiteRTModel({str(converted['int8'].path)!r})(numpy.zeros((1, 16, 2)));"
        "assert not {'tensorflow', 'keras', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
