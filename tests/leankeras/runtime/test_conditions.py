import keras
import numpy as np

from leankeras.conversion.tflite import convert
from leankeras.runtime import batch_sizes, copying, thread_settings


def test_threads_are_those_asked_for_and_tied_to_litert(small_model, tmp_path):
    small_model.export(tmp_path / "saved", verbose=False)
    convert(small_model, tmp_path / "model.tflite", mode="float32")
    table = thread_settings(tmp_path / "saved", tmp_path / "model.tflite", [(1, 1)])
    assert table[["inter_op", "intra_op"]].to_numpy().tolist() == [[1, 1]]
    assert table.ratio_low[0] <= table.ratio[0] <= table.ratio_high[0]
    assert thread_settings(tmp_path / "saved", tmp_path / "model.tflite", []).empty


def test_a_sample_of_a_batch_costs_less_than_one_alone(small_model, blobs):
    table = batch_sizes(small_model, blobs.x_test[:1], [1, 64])
    assert table.index.tolist() == [1, 64]
    assert (table.loc[64] < table.loc[1]).all()


def test_all_ways_of_copying_are_timed(small_model, blobs, tmp_path):
    convert(small_model, tmp_path / "model.tflite", mode="float32")
    table = copying(tmp_path / "model.tflite", blobs.x_test[:1])
    assert table.index.tolist() == ["copy in, run, copy out", "written in place", "run only"]
    assert np.isfinite(table.ratio).all()


def test_inputs_by_name_are_copied_whatever_their_order_in_the_file(tmp_path):
    inputs = {name: keras.Input(shape, name=name) for name, shape in (("b", (8, 2)), ("a", (5,)))}
    both = [keras.layers.Flatten()(inputs["b"]), inputs["a"]]
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Concatenate()(both)))
    convert(model, tmp_path / "model.tflite", mode="float32")
    sample = {name: np.ones((1, *each.shape[1:]), "float32") for name, each in inputs.items()}
    for names in ("ab", "ba"):
        table = copying(tmp_path / "model.tflite", {name: sample[name] for name in names})
        assert np.isfinite(table.ratio).all()
