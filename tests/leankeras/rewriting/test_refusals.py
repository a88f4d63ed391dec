"""What stands in the way, in a line that names the operation, where it is written, and why."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.errors import RewriteError
from leankeras.rewriting import rewrite
from tests.layers.faulty import FixedBatch, Noise, PlainVariable, PythonFunction
from tests.leankeras.rewriting.trying import rewritten


class Steps(keras.Layer):
    """What its turns do is given."""

    def __init__(self, function, count=5):
        super().__init__()
        self.function, self.count = function, count

    def call(self, x):
        return self.function(x, self.count)


def recurrence(x, count):
    states = [x[:, 0]]
    for t in range(1, count):
        states.append(tf.tanh(states[-1] + x[:, t]))
    return tf.stack(states, axis=1)


def until_large(x, count):
    return tf.while_loop(lambda y: tf.reduce_max(y) < 9, lambda y: [y * 2], [tf.abs(x) + 1])[0]


def turns_that_differ(x, count):
    functions = (tf.sin, tf.exp, tf.abs, tf.nn.relu, tf.sign)
    return tf.stack([function(x[:, t]) for t, function in enumerate(functions)], axis=1)


def data_as_index(x, count):
    place = tf.cast(x[0, 0, 0], "int32") * 0
    return tf.stack([x[:, place + t] for t in range(count)], axis=1)


def of_the_batch(x, count):
    return tf.stack([x[:, t] * tf.cast(tf.shape(x)[0], "float32") for t in range(count)], axis=1)


def of_another_first_turn(x, count):
    return tf.stack([x[:, 0], *(tf.tanh(x[:, t]) for t in range(1, count))], axis=1)


def of_another_last_turn(x, count):
    total = tf.exp(x[:, count - 1])
    for t in range(count - 1):
        total += tf.sin(x[:, t]) * tf.cos(x[:, t])
    return total


def of_other_ends(x, count):
    inner = [x[:, t] * tf.sigmoid(x[:, t]) for t in range(1, count - 1)]
    return tf.concat([tf.nn.relu(x[:, 0]), *inner, tf.abs(x[:, count - 1])], axis=1)


@pytest.mark.parametrize(
    ("function", "most"),
    [(of_another_first_turn, 4), (of_another_last_turn, 9), (of_other_ends, 11)],
)
def test_an_odd_turn_stays_and_the_equal_ones_are_merged(function, most):
    found = rewritten(Steps(function), (5, 4))
    assert found.equivalence.equivalent
    assert found.nodes[1] <= most
    assert any(step.startswith(("3 turns", "4 turns")) for step in found.steps)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Steps(recurrence), "each turn needs what the one before computed"),
        (lambda: Steps(until_large), "While at line .*it loops until the data say otherwise"),
        (lambda: Steps(turns_that_differ), "the turns differ in how they do it"),
        (lambda: Steps(data_as_index), "StridedSlice at line .*an index depends on the data"),
        (lambda: Steps(of_the_batch), "depends on the size of the batch"),
        (PythonFunction, "PyFunc at line .*calls back into Python"),
        (PlainVariable, "at line .*is no weight of the layer; make it with add_weight"),
        (Noise, "RandomStandardNormal at line .*random at inference"),
        (FixedBatch, "rejects a batch of"),
    ],
)
def test_a_refusal_says_what_and_where_and_why(make, said):
    keras.utils.set_random_seed(0)
    with pytest.raises(RewriteError, match=said) as refused:
        rewritten(make(), (5, 4))
    assert "\n" not in str(refused.value)


def projected(layer, x):
    return tf.concat([x[:, 0] @ layer.kernel[:, u : u + 1] for u in range(3)], axis=-1)


class Projected(keras.Layer):
    """Three products with columns of a weight."""

    def __init__(self, **weight):
        super().__init__()
        self.weight = weight

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel", **self.weight)

    def call(self, x):
        return projected(self, x)


class WithLoss(Projected):
    def call(self, x):
        self.add_loss(tf.reduce_sum(x**2))
        return projected(self, x)


class Stopped(Projected):
    def call(self, x):
        fixed = tf.stop_gradient(self.kernel.value)
        return tf.concat([x[:, 0] @ fixed[:, u : u + 1] for u in range(3)], axis=-1)


class WithNone(Projected):
    def call(self, x):
        return [projected(self, x), None]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Projected(regularizer="l2"), "in training .a weight has a regularizer"),
        (lambda: Projected(constraint="non_neg"), "in training .a weight has a constraint"),
        (WithLoss, "in training .it adds to the loss"),
        (Stopped, "the gradient of .*kernel is off"),
        (WithNone, "returns None beside its outputs"),
    ],
)
def test_what_trains_otherwise_is_refused(make, said):
    with pytest.raises(RewriteError, match=said):
        rewritten(make(), (5, 4))


def test_at_inference_a_regularizer_does_not_matter():
    found = rewritten(Projected(regularizer="l2"), (5, 4), for_inference=True)
    assert found.equivalence.equivalent
    assert found.for_inference


def test_what_is_no_layer_or_has_no_shape_is_refused():
    with pytest.raises(RewriteError, match="got int; expected a Keras layer"):
        rewrite(3)
    with pytest.raises(RewriteError, match="no known input shape; give input_shape"):
        rewrite(Steps(recurrence))
    with pytest.raises(RewriteError, match="whole numbers above 0"):
        rewrite(Steps(recurrence), (None, 4))


class NeedsMore(keras.Layer):
    def call(self, x, scale):
        return x * scale


def test_an_argument_that_is_missing_is_refused():
    with pytest.raises(RewriteError, match="missing a required argument: 'scale'"):
        rewritten(NeedsMore(), (5, 4))


def test_the_shape_of_a_built_layer_is_known():
    layer = Steps(lambda x, count: tf.stack([tf.tanh(x[:, t]) for t in range(count)], axis=1))
    layer(np.ones((2, 5, 4), "float32"))
    assert rewritten(layer, None).nodes[1] == 1
