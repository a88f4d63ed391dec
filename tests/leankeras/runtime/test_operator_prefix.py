import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from leankeras.conversion.tflite import convert
from leankeras.errors import ModelError
from leankeras.runtime.flatbuffer import TFLiteFile
from leankeras.runtime.litert import LiteRTModel
from leankeras.runtime.operator_prefix import prefix


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model with a branch, a shortcut over several layers and a recurrence, by mode."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 4))
    x = keras.layers.Conv1D(4, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.Add()([x, inputs])
    state = keras.layers.LSTM(5, unroll=True)(x)
    side = keras.layers.GlobalMaxPooling1D()(x)
    outputs = [keras.layers.Dense(3, name="a")(state), keras.layers.Dense(2, name="b")(side)]
    model = keras.Model(inputs, outputs)
    samples = np.random.default_rng(0).normal(size=(16, 6, 4)).astype("float32")
    folder = tmp_path_factory.mktemp("prefix")
    return {
        mode: convert(model, folder / f"{mode}.tflite", mode, samples).path
        for mode in ("float32", "int8")
    }


def run(content, sample):
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    interpreter.set_tensor(source["index"], sample)
    interpreter.invoke()
    details = interpreter.get_output_details()
    return {entry["index"]: interpreter.get_tensor(entry["index"]) for entry in details}


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_every_prefix_computes_what_the_whole_does_up_to_there(files, mode):
    file = TFLiteFile(files[mode])
    whole = LiteRTModel(files[mode], keep_tensors=True)
    sample = np.random.default_rng(1).normal(size=(1, 6, 4)).astype("float32")
    whole.set_inputs(dict.fromkeys(whole.input_details, sample))
    whole.invoke()
    count = len(file.operators)
    assert count > 30
    for size in range(1, count + 1):
        results = run(prefix(file, size), sample)
        last = file.operators[size - 1].outputs
        assert set(last) <= set(results)
        for index, values in results.items():
            np.testing.assert_array_equal(values, whole.interpreter.get_tensor(index))
    assert set(results) >= set(file.outputs.values())


def test_no_operator_of_a_prefix_is_cut_off_or_dead(files, tmp_path):
    file = TFLiteFile(files["float32"])
    for size in (1, 10, len(file.operators)):
        path = tmp_path / f"{size}.tflite"
        path.write_bytes(prefix(file, size))
        part = TFLiteFile(path)
        assert part.operators == file.operators[:size]
        read = {index for operator in part.operators for index in operator.inputs}
        made = {index for operator in part.operators for index in operator.outputs}
        assert made <= read | set(part.outputs.values())


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_size_that_the_file_does_not_have_is_refused(files, size):
    with pytest.raises(ModelError, match=f"cannot keep {size} operators"):
        prefix(TFLiteFile(files["float32"]), size)
