"""The role of an input, inferred from samples, its name and type, or the reference's use of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from leankeras.equivalence import check_equivalence
from leankeras.equivalence.calling import Callee
from leankeras.equivalence.roles import (
    ADJACENCY,
    BOXES,
    INDICES,
    LENGTHS,
    MASK,
    NUMBERS,
    find_roles,
    input_names,
)
from leankeras.equivalence.usage import Usage, unread_weights, usages
from tests.layers.pattern import Formula

STEPS, SIZE = 6, 4
X = np.zeros((3, STEPS, SIZE), "float32")
M = np.ones((3, STEPS), "float32")


def traced(function, arrays, **shapes):
    layer = Formula(function, **shapes)
    shape = [array.shape[1:] for array in arrays]
    callee = Callee("reference", layer, shape if len(arrays) > 1 else shape[0])
    callee.eager(arrays)
    assert callee.trace(arrays)
    return callee


def role_of(function, *arrays, names=("x", "other"), samples=None, **shapes):
    """The role of the last input."""
    callee = traced(lambda layer, inputs: function(inputs), arrays, **shapes)
    used = usages(callee.graph, callee.layer.weights)
    plain = [Usage() for _ in arrays]
    sizes, dtypes = [each.shape[1:] for each in arrays], [each.dtype for each in arrays]
    names = list(names[-len(arrays) :])
    return find_roles(names, sizes, dtypes, used, plain, samples)[-1]


@pytest.mark.parametrize(
    ("function", "penalized"),
    [
        (lambda i: ops.softmax(i[0][..., 0] + (1 - i[1]) * -1e9), 0),
        (lambda i: ops.softmax(i[0][..., 0] - 1e9 * (1 - i[1])), 0),
        (lambda i: ops.softmax(i[0][..., 0] + (i[1] - 1) * 1e9), 0),
        (lambda i: ops.softmax(i[0][..., 0] + i[1] * -1e9), 1),
        (lambda i: ops.where(ops.cast(i[1], "bool")[..., None], i[0], 0.0), None),
        (lambda i: ops.where(i[1][..., None] > 0.5, i[0], 0.0), None),
        (lambda i: ops.where(ops.equal(ops.expand_dims(i[1], 2), 0), -1e9, i[0]), None),
    ],
)
def test_a_mask_is_known_by_what_is_done_with_it(function, penalized):
    role = role_of(function, X, M)
    assert (role.kind, role.penalized) == (MASK, penalized)


@pytest.mark.parametrize(
    "function",
    [
        lambda i: i[0] * i[1][..., None],
        lambda i: i[0] + i[1][..., None] * 1e3,
        lambda i: i[0] * ops.where(i[1] > 0, i[1], 0.0)[..., None],
    ],
)
def test_a_number_that_could_be_a_mask_is_tried_as_both(function):
    role = role_of(function, X, M)
    assert (role.kind, role.also) == (NUMBERS, (MASK,))


@pytest.mark.parametrize(
    ("function", "kind", "limit"),
    [
        (lambda i: tf.gather(i[0], tf.cast(i[1], "int32"), batch_dims=1), INDICES, STEPS),
        (lambda i: ops.one_hot(ops.cast(i[1], "int32"), 9), INDICES, 9),
        (lambda i: ops.take(np.zeros((7, 2)), ops.cast(i[1], "int32"), axis=0), INDICES, 7),
        (lambda i: ops.equal(i[1][..., None], np.arange(5, dtype="float32")), INDICES, 5),
        (lambda i: ops.where(i[1] > 2, 1.0, ops.where(i[1] > 4, 2.0, 0.0)), INDICES, 6),
        (
            lambda i: ops.cast(np.arange(STEPS, dtype="float32") < i[1][:, :1], "float32") * 2,
            LENGTHS,
            STEPS,
        ),
        (lambda i: tf.sequence_mask(tf.cast(i[1][:, 0], "int32"), 5), LENGTHS, 5),
    ],
)
def test_how_many_indices_there_are_is_read_off_the_graph(function, kind, limit):
    role = role_of(function, X, M)
    assert (role.kind, role.limit) == (kind, limit)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "kind"),
    [
        ("attention_mask", (STEPS,), "float32", MASK),
        ("paddingMask", (STEPS,), "float32", MASK),
        ("other", (STEPS,), "bool", MASK),
        ("adj", (STEPS, STEPS), "float32", ADJACENCY),
        ("adjacency_in", (STEPS, SIZE), "float32", NUMBERS),
        ("roi_boxes", (5, 4), "float32", BOXES),
        ("boxes", (5, 3), "float32", NUMBERS),
        ("lengths", (1,), "int32", LENGTHS),
        ("tokens", (STEPS,), "int32", INDICES),
        ("tokens", (STEPS, SIZE), "float32", NUMBERS),
        ("unmasked", (STEPS,), "float32", NUMBERS),
    ],
)
def test_names_and_types_tell_where_the_use_does_not(name, shape, dtype, kind):
    role = find_roles(["x", name], [(STEPS, SIZE), shape], ["float32", dtype], *[[Usage()] * 2] * 2)
    assert role[1].kind == kind


def test_samples_have_the_last_word():
    binary, tokens = (np.arange(12).reshape(2, STEPS) % k for k in (2, 5))
    for samples, kind in (
        (binary.astype("float32"), MASK),
        (tokens, INDICES),
        (tokens + 0.5, NUMBERS),
    ):
        role = role_of(lambda i: i[0] * i[1][..., None], X, M, samples=[X, samples])
        assert role.kind == kind


def test_names_are_arguments_keys_inputs_or_what_they_are_unpacked_to():
    class Unpacks(keras.Layer):
        def call(self, inputs):
            x, mask = inputs
            return x * mask[..., None]

    class Arguments(keras.Layer):
        def call(self, x, mask, training=False):
            return x * mask[..., None]

    class Keys(keras.Layer):
        def call(self, inputs):
            return inputs["x"] * inputs["mask"][..., None]

    first, second = keras.Input((STEPS, SIZE), name="x"), keras.Input((STEPS,), name="mask")
    model = keras.Model([first, second], first * second[..., None])
    shapes = [(STEPS, SIZE), (STEPS,)]
    by_key = dict(zip(("x", "mask"), shapes, strict=True))
    for layer, shape in (
        (Unpacks(), shapes),
        (Arguments(), shapes),
        (Keys(), by_key),
        (model, shapes),
    ):
        callee = Callee("reference", layer, shape)
        callee.spread = callee.must_spread
        assert sorted(input_names(callee, 2)) == ["mask", "x"]
    unknown = Callee("reference", keras.layers.Add(), shapes)
    assert input_names(unknown, 2) == ["input 0", "input 1"]


def test_what_a_graph_does_not_read():
    def function(layer, inputs):
        x, other = inputs
        return x @ layer.kernel + ops.zeros_like(other)[..., None]

    callee = traced(function, [X, M], kernel=(SIZE, 2), unused=(3,))
    assert [usage.read for usage in usages(callee.graph, callee.layer.weights)] == [True, False]
    unused = unread_weights(callee.graph, callee.layer.weights)
    assert [weight.name for weight in unused] == ["unused"]


def test_a_range_that_is_not_known_is_found_by_trying():
    class Looks(keras.Layer):
        def call(self, ids):
            rows = tf.boolean_mask(tf.constant([[1.0], [2.0], [3.0]]), [True, True, False])
            return tf.gather(rows, tf.cast(ids, "int32"))

    result = check_equivalence(Looks(), Looks(), (5,))
    assert result.equivalent, repr(result)
    assert result.not_compared[0] == "values of `ids` other than whole numbers from 0 to 1"


def test_what_can_be_a_mask_gives_no_proof_as_a_number():
    def soft(layer, inputs):
        return inputs[0] * inputs[1][..., None]

    def hard(layer, inputs):
        return ops.where(inputs[1][..., None] > 0, inputs[0], 0.0)

    pair = Formula(soft), Formula(hard)
    shapes = [(STEPS, SIZE), (STEPS,)]
    rng = np.random.default_rng(0)
    x, soft_mask = rng.normal(size=(5, STEPS, SIZE)), rng.random((5, STEPS))
    assert check_equivalence(*pair, shapes).verdict == "cannot tell"
    assert check_equivalence(*pair, shapes, samples=[x, soft_mask]).verdict == "not equivalent"
    hard_mask = (soft_mask > 0.5).astype("float32")
    assert check_equivalence(*pair, shapes, samples=[x, hard_mask]).equivalent
