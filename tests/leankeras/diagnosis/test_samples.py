import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.diagnosis.diagnosis import diagnose
from leankeras.diagnosis.samples import find_inputs
from leankeras.errors import DataError, ModelError


@keras.saving.register_keras_serializable("samples")
class Crop(keras.Layer):
    """Fails wherever a box is empty, as boxes of random numbers are."""

    def call(self, inputs):
        image, boxes = inputs
        start, size = tf.cast(boxes[0, 0], "int32"), tf.cast(boxes[0, 1], "int32")
        return tf.image.resize(image[:, start : start + size], (2, 2))


@keras.saving.register_keras_serializable("samples")
class Gate(keras.Layer):
    """Takes its tensors one by one."""

    def call(self, value, gate, training=False):
        return value * keras.ops.sigmoid(gate)


@keras.saving.register_keras_serializable("samples")
class Tokens(keras.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(50, 3)

    def build(self, input_shape):
        self.embedding.build(input_shape)

    def call(self, x):
        return self.embedding(x)


def images(count=16):
    return np.random.default_rng(0).normal(size=(count, 6, 6, 2))


def boxes(count=16):
    return np.tile([1.0, 3.0], (count, 1))


def rules(diagnosis) -> set[str]:
    return {finding.rule for finding in diagnosis.findings}


def test_random_numbers_are_no_boxes_and_samples_are():
    refused = diagnose(Crop(), [(6, 6, 2), (2,)])
    assert rules(refused) == {"call-fails"}
    assert "give samples" in refused.findings[0].fix
    tried = diagnose(Crop(), samples=[images(), boxes()])
    assert not {"call-fails", "not-tried"} & rules(tried)
    assert tried.observed["graph nodes"] > 0


def test_tensors_that_call_takes_one_by_one():
    assert diagnose(Gate(), [(4,), (4,)]).findings == ()
    assert diagnose(Gate(), {"value": (4,), "gate": (4,)}).findings == ()
    both = {"gate": np.ones((3, 4)), "value": np.ones((3, 4))}
    assert diagnose(Gate(), samples=both).findings == ()


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_whole_numbers(dtype):
    tokens = np.arange(5 * 6).reshape(5, 6).astype(dtype)
    assert diagnose(Tokens(), samples=tokens).findings == ()


def test_samples_of_a_model_by_name_and_in_order():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(9, 2)(b))
    model = keras.Model([a, b], keras.layers.Concatenate()([a, embedded]))
    arrays = [np.ones((4, 3)), np.full((4, 2), 8)]
    for samples in (arrays, {"b": arrays[1], "a": arrays[0]}):
        inputs = find_inputs(model, None, samples)
        assert inputs.shapes == [(3,), (2,)]
        first, second = inputs.batch(2)
        np.testing.assert_array_equal(first, np.ones((2, 3)))
        np.testing.assert_array_equal(second, np.full((2, 2), 8))
        assert second.dtype == "int32"


def test_a_dict_of_inputs_keeps_its_names():
    inputs = find_inputs(Gate(), {"value": (4,), "gate": (2,)}, None)
    assert inputs.keywords == ("gate", "value")
    assert {name: tuple(t.shape) for name, t in inputs.batch(3).items()} == {
        "gate": (3, 2),
        "value": (3, 4),
    }


def test_few_samples_are_used_again_and_many_are_thinned_out():
    few = find_inputs(Gate(), None, [np.arange(3.0)[:, None]] * 2)
    np.testing.assert_array_equal(few.arrays[0][:, 0], np.arange(16) % 3)
    many = find_inputs(Gate(), None, [np.arange(160.0)[:, None]] * 2)
    assert many.arrays[0][0] == 0
    assert many.arrays[0][-1] == 159
    assert len(many.arrays[0]) == 16


def test_open_lengths_are_told_by_samples():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.GlobalAveragePooling1D()])
    assert diagnose(model, samples=np.ones((4, 7, 3))).findings == ()
    with pytest.raises(ModelError, match="open shape"):
        diagnose(model)


@pytest.mark.parametrize(
    ("samples", "shape", "message"),
    [
        (np.ones((0, 4)), None, "the same number of samples, at least one"),
        ([np.ones((3, 4)), np.ones((2, 4))], None, "the same number of samples"),
        (np.float32(1), None, "the same number of samples"),
        (np.array([["a"], ["b"]]), None, "dtype <U1; expected numbers"),
        (np.array([[1.0], [np.nan]]), None, "hold NaN or Inf"),
        (np.ones((3, 4)), (5,), "have shape .4,. and input_shape is .5,."),
    ],
)
def test_samples_that_are_none(samples, shape, message):
    with pytest.raises(DataError, match=message):
        diagnose(Gate(), shape, samples)


def test_samples_for_other_inputs():
    model = keras.Sequential([keras.Input((3,), name="a"), keras.layers.Dense(2)])
    with pytest.raises(DataError, match="samples for b; the inputs are a"):
        diagnose(model, samples={"b": np.ones((4, 3))})
    with pytest.raises(DataError, match=r"samples for 2 input\(s\); the inputs are a"):
        diagnose(model, samples=[np.ones((4, 3)), np.ones((4, 3))])
