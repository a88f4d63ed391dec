import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.errors import ModelError
from leankeras.serving import open_engine
from leankeras.serving.engine import Engine
from leankeras.serving.worker import Worker


def random_batch(engine, count):
    random = np.random.default_rng(1)
    return {
        each.name: random.standard_normal((count, *each.shape)).astype(each.dtype)
        for each in engine.inputs
    }


def rows(batch, k):
    return {name: array[k : k + 1] for name, array in batch.items()}


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20])
@pytest.mark.parametrize("name", ["dense_file", "fixed_file"])
def test_a_batch_gets_the_answers_of_its_samples_to_the_last_bit(name, count, request):
    engine = open_engine(request.getfixturevalue(name), batch_size=8)
    single = open_engine(request.getfixturevalue(name))
    batch = random_batch(engine, count)
    answers = engine(batch)
    for k in range(count):
        for output, values in single(rows(batch, k)).items():
            assert answers[output][k : k + 1].tobytes() == values.tobytes()


def test_sizes_that_are_fixed_in_the_file_are_run_one_by_one(fixed_file):
    assert list(open_engine(fixed_file, batch_size=8).seconds) == [1]


def test_sizes_are_used_as_they_were_chosen_before(dense_file):
    assert open_engine(dense_file, batch_size=8, sizes=[1, 8]).largest == 8
    assert list(open_engine(dense_file, batch_size=1).seconds) == [1]


class Rounding(Engine):
    """An engine whose batches of four differ in the last bit, and whose batches are fast."""

    def __init__(self, tensors):
        self.inputs = self.outputs = tensors
        super().__init__(4)

    def _prepare(self, size):
        return lambda batch: {
            name: np.nextafter(array, 9, dtype=array.dtype) if size == 4 else array.copy()
            for name, array in batch.items()
        }


def test_a_size_with_other_answers_is_not_used(dense_file):
    engine = Rounding(open_engine(dense_file).inputs)
    assert 4 not in engine.seconds


def test_a_worker_answers_as_the_file_does(fixed_file):
    engine, worker = open_engine(fixed_file), Worker(fixed_file, 9, threads=1, batch_size=4)
    assert (worker.inputs, worker.outputs) == (engine.inputs, engine.outputs)
    batch = random_batch(engine, 9)
    answers = worker(batch)
    worker.close()
    for output, values in answers.items():
        assert values.tobytes() == engine(batch)[output].tobytes()


def test_a_saved_model_is_served_by_its_signature(dense_file, tmp_path):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    model.export(tmp_path / "saved", verbose=False)
    engine = open_engine(tmp_path / "saved", batch_size=4)
    batch = random_batch(engine, 6)
    (given,), (answers,) = batch.values(), engine(batch).values()
    np.testing.assert_allclose(answers, given @ model.weights[0] + model.weights[1], rtol=1e-5)


def test_a_saved_model_of_several_signatures_is_refused(tmp_path):
    module = tf.Module()
    module.run = tf.function(
        lambda x: {"y": x + 1}, input_signature=[tf.TensorSpec((None, 2), tf.float32)]
    )
    signatures = dict.fromkeys(("one", "two"), module.run.get_concrete_function())
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures)
    with pytest.raises(ModelError, match=r"2 signatures \(one, two\); expected exactly one"):
        open_engine(tmp_path / "saved")


def test_what_is_no_model_is_refused_in_a_line(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"other")
    (tmp_path / "saved").mkdir()
    for name, message in {"a.tflite": "not a .tflite", "saved": "not a usable SavedModel"}.items():
        with pytest.raises(ModelError, match=message) as refused:
            open_engine(tmp_path / name)
        assert "\n" not in str(refused.value)
