import keras
import numpy as np
import pytest

from leankeras.conversion.tflite import convert
from leankeras.errors import DataError
from leankeras.runtime import compare_scores, evaluate
from leankeras.runtime.artifacts import as_call, predict, random_sample
from leankeras.runtime.retracing import trace_times
from leankeras.runtime.traced_graph import graph_size, operation_graph
from leankeras.runtime.ways_to_call import ladder
from leankeras.training import fit


def test_every_artifact_of_a_model_predicts_the_same(small_model, blobs, tmp_path):
    small_model.save(tmp_path / "model.keras")
    small_model.export(tmp_path / "saved", verbose=False)
    convert(small_model, tmp_path / "model.tflite", mode="float32")
    expected = np.asarray(small_model(blobs.x_test))
    for target in (
        small_model,
        *(tmp_path / name for name in ("model.keras", "saved", "model.tflite")),
    ):
        np.testing.assert_allclose(predict(target, blobs.x_test), expected, atol=1e-5)
        if target is not small_model:
            assert random_sample(target).shape == (1, 16, 2)


def several(structure):
    inputs = {name: keras.Input((size,), name=name) for name, size in (("a", 4), ("b", 3))}
    x = keras.layers.Concatenate()(list(inputs.values()))
    outputs = {name: keras.layers.Dense(size)(x) for name, size in (("u", 2), ("v", 3))}
    if structure is list:
        return keras.Model(list(inputs.values()), list(outputs.values()))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("structure", [dict, list])
def test_several_inputs_and_outputs_go_by_name(structure, tmp_path):
    model = several(structure)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved", verbose=False)
    convert(model, tmp_path / "model.tflite", mode="float32")
    sample = random_sample(tmp_path / "model.keras")
    assert {name: array.shape for name, array in sample.items()} == {"a": (1, 4), "b": (1, 3)}
    assert random_sample(tmp_path / "saved").keys() == sample.keys()
    expected = predict(model, sample)
    assert list(expected) == (["u", "v"] if structure is dict else ["output_0", "output_1"])
    for name in ("model.keras", "saved", "model.tflite"):
        as_call(tmp_path / name, sample)()
        found = predict(tmp_path / name, sample)
        assert found.keys() == expected.keys()
        for output, values in expected.items():
            np.testing.assert_allclose(found[output], values, atol=1e-5)
    for target in (model, tmp_path / "model.tflite", tmp_path / "saved"):
        with pytest.raises(DataError, match="labels for one array; the model has the outputs"):
            evaluate(target, sample, np.zeros(1, int))
    for wrong in ({"a": sample["a"]}, sample["a"], [sample["a"]] * 3):
        for target in (model, tmp_path / "saved", tmp_path / "model.tflite"):
            with pytest.raises(DataError):
                predict(target, wrong)


def test_a_single_output_is_scored_by_what_its_labels_are():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer="ones")])
    x = np.ones((4, 4)) * [[1], [-1], [1], [1]]
    assert evaluate(model, x, np.asarray([1, 0, 0, 1]))["accuracy"] == 0.75
    assert evaluate(model, x, np.asarray([4.0, -4.0, 3.0, 4.0]))["MAE"] == 0.25
    assert evaluate(model, x, np.asarray([1, 0, 0, 1]), "regression")["MAE"] == 3.5


def test_samples_of_another_shape_are_told_in_a_line(small_model):
    with pytest.raises(DataError, match=r"small does not take samples of shape \(3, 2\)"):
        predict(small_model, np.ones((2, 3, 2), "float32"))


def test_a_model_that_takes_indices_gets_indices(tmp_path):
    inputs = keras.Input((5,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(2, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    targets = [tmp_path / name for name in ("model.keras", "saved", "model.tflite")]
    model.save(targets[0])
    model.export(targets[1], verbose=False)
    convert(model, targets[2], mode="float32")
    for target in targets:
        sample = random_sample(target)
        assert sample.shape == (1, 5)
        assert sample.dtype == np.int32
        np.testing.assert_allclose(predict(target, sample), np.asarray(model(sample)), atol=1e-5)


def test_every_rung_of_the_ladder_gives_the_same_answer(small_model, blobs, tmp_path):
    x = blobs.x_test[:1]
    expected = np.asarray(small_model(x))
    for name, call in ladder(small_model, x).items():
        np.testing.assert_allclose(
            np.asarray(call(x)).reshape(1, 2), expected, atol=1e-5, err_msg=name
        )


def test_every_rung_of_the_ladder_takes_inputs_by_name():
    inputs = {name: keras.Input((size,), name=name) for name, size in (("wave", 3), ("age", 2))}
    both = keras.layers.Concatenate()([inputs["wave"], inputs["age"]])
    model = keras.Model(inputs, keras.layers.Dense(2)(both))
    x = {"wave": np.float32([[1, 2, 3]]), "age": np.float32([[4, 5]])}
    expected = np.asarray(model(x))
    for name, call in ladder(model, x).items():
        answer = np.asarray(call(x)).reshape(1, 2)
        np.testing.assert_allclose(answer, expected, atol=1e-5, err_msg=name)


def test_accuracy_is_that_of_counting(small_model, blobs):
    fit(small_model, blobs, 10, learning_rate=0.02)
    scores = evaluate(small_model, blobs.x_test, blobs.y_test)
    answers = np.asarray(small_model(blobs.x_test)).argmax(axis=1)
    assert scores["accuracy"] == np.mean(answers == blobs.y_test) > 0.8
    with pytest.raises(DataError, match="expected a label for each sample"):
        evaluate(small_model, blobs.x_test, blobs.y_test[1:])


def test_the_paired_interval_is_nothing_for_equals_and_wide_for_others(small_model, blobs):
    other = keras.models.clone_model(small_model)
    fit(small_model, blobs, 10, learning_rate=0.02)
    targets = {"a": small_model, "same": small_model, "untrained": other}
    table = compare_scores(targets, blobs, "test")
    assert table.loc["same", ["accuracy_lost", "lost_low", "lost_high"]].tolist() == [0, 0, 0]
    row = table.loc["untrained"]
    assert row.lost_low < row.accuracy_lost < row.lost_high
    assert row.accuracy_lost == pytest.approx(table.accuracy["a"] - row.accuracy)


def test_a_loop_shows_in_the_graph():
    def looped(count):
        inputs = keras.Input((4,))
        outputs = inputs
        for _ in range(count):
            outputs = keras.layers.Dense(4)(outputs)
        return keras.Model(inputs, outputs)

    sample = np.zeros((1, 4), np.float32)
    assert graph_size(looped(8), sample) > graph_size(looped(1), sample) + 7


def test_a_graph_holds_what_depends_on_the_input_and_how_it_hangs_together():
    inputs = keras.Input((4,))
    sides = [keras.ops.tanh(inputs), keras.ops.exp(inputs)]
    kernel = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(inputs, kernel(keras.layers.Add()(sides)))
    graph = operation_graph(model, np.zeros((1, 4), np.float32))
    assert graph.operation.tolist() == ["Tanh", "Exp", "AddV2", "MatMul"]
    assert graph.depth.tolist() == [1, 1, 2, 3]
    assert graph.inputs.tolist() == [[], [], [0, 1], [2]]


def test_a_signature_traces_once_and_new_shapes_trace_without_one(small_model, blobs):
    times = trace_times(small_model, blobs.x_test[:1], [1, 2, 1])
    assert times.traced.tolist() == [True, True, False]
    assert times.traced_signature.tolist() == [True, False, False]
