"""The printed layer: it reads like Python, fits on a page and does the same."""

import ast

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.cases.stream import SteppedLSTM
from leankeras.equivalence import check_equivalence
from leankeras.rewriting.constant_text import constant_text
from leankeras.rewriting.layout_of_text import WIDTH, bare, wrap
from leankeras.rewriting.rewriting import rewrite_layer
from tests.layers.pattern import Formula
from tests.leankeras.rewriting.trying import last_is_fastest, rewritten, run_source


def test_a_recurrence_is_printed_as_a_loop():
    keras.utils.set_random_seed(0)
    layer, shape = SteppedLSTM(4), (7, 3)
    found = rewrite_layer(layer, shape, measure=last_is_fastest)
    assert found.name.startswith("program")
    assert "        for t in range(7):\n" in found.source
    assert found.source.partition("def call")[2].count("tf.matmul") == 1
    assert "state_2 = parts[0] * tf.tanh(state)" in found.source  # as a person names them
    assert "np.concatenate([old.kernels[i] for i in" in found.source
    printed, port = run_source(found.source)
    assert check_equivalence(layer, printed, shape, port=port).equivalent


def outputs_of_all_steps(layer, x):
    state, states = tf.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        state = tf.tanh(x[:, t] @ layer.kernel + tf.sin(state) * tf.exp(-tf.abs(state)))
        states.append(state)
    return tf.stack(states, axis=1)


def test_what_all_turns_gave_is_collected_in_a_list():
    keras.utils.set_random_seed(0)
    layer, shape = Formula(outputs_of_all_steps, kernel=(3, 3)), (9, 3)
    found = rewritten(layer, shape)
    assert "collected.append(" in found.source
    assert "tf.stack(" in found.source
    printed, port = run_source(found.source)
    assert check_equivalence(layer, printed, shape, port=port).equivalent


TABLE = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")


def with_a_table(layer, x):
    return tf.stack([x[:, t] @ TABLE for t in range(x.shape[1])], axis=1)


def test_a_table_is_printed_beside_the_layer():
    layer, shape = Formula(with_a_table), (6, 4)
    found = rewritten(layer, shape)
    assert "base64" in found.source
    printed, _ = run_source(found.source)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    np.testing.assert_array_equal(printed(x), found.layer(x))


@pytest.mark.parametrize(
    "array",
    [
        np.float32(0.1), np.int32(3), np.array(True), np.float32(-np.inf),
        np.array([1.5, np.nan], "float32"), np.array([[1, 2]], "int64"),
        np.arange(3, 60, 3, dtype="int64"), (np.arange(8) + 3 * np.arange(5)[:, None]) % 8,
        (np.arange(8) - np.arange(8)[:, None] + 5) % 8,
    ],
)  # fmt: skip
def test_a_constant_means_what_it_was(array):
    array = np.asarray(array)
    array = array.astype("int32") if array.ndim == 2 and array.size > 16 else array
    text = constant_text(array)
    value = np.asarray(eval(text, {"tf": tf}))
    np.testing.assert_array_equal(value.astype(array.dtype), array)
    assert "base64" not in text


def test_a_table_without_a_rule_is_no_expression():
    assert constant_text(np.random.default_rng(0).normal(size=(5, 5))) is None
    assert constant_text(np.random.default_rng(0).integers(0, 9, (5, 5)).astype("int32")) is None


LONG = (
    "joined = tf.concat([first_part[:, 0:4], tf.reshape(second_part, (-1, 4)), third_part + "
    "tf.sigmoid(another_part_with_a_long_name * 2.0), and_one_more_of_them], axis=1)"
)


def test_long_lines_are_wrapped_and_mean_the_same():
    lines = wrap(LONG, "    ")
    assert len(lines) > 1
    assert max(map(len, lines)) <= WIDTH
    assert ast.dump(ast.parse("\n".join(line[4:] for line in lines))) == ast.dump(ast.parse(LONG))
    assert wrap("x = y", "  ") == ["  x = y"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("(a + b)", "a + b"), ("(a + b) * (c)", "(a + b) * (c)"), ("(1, 2)", "(1, 2)"), ("a", "a"),
     ("(f(a, b) + c)", "f(a, b) + c")],
)  # fmt: skip
def test_parentheses_around_everything_go(text, wanted):
    assert bare(text) == wanted


def experts(layer, x):
    parts = tf.nn.relu(tf.stack([x @ layer.kernel[e] for e in range(5)], axis=1))
    return [tf.reduce_sum(parts * tf.sin(x[:, g, None, None] * parts), axis=1) for g in range(4)]


def test_turns_that_share_something_are_one_loop_from_the_first_on():
    keras.utils.set_random_seed(0)
    found = rewritten(Formula(experts, kernel=(5, 6, 3)), (6,))
    body = found.source.partition("def call")[2]
    assert "state" not in body


def test_gates_are_slices():
    def steps(layer, x):
        state = tf.zeros((tf.shape(x)[0], 4))
        for t in range(5):
            given, seen = x[:, t] @ layer.kernel, state @ layer.recurrent
            update = tf.sigmoid(given[:, :4] + seen[:, :4])
            reset = tf.sigmoid(given[:, 4:8] + seen[:, 4:8])
            state = (1 - update) * state + update * tf.tanh(given[:, 8:] + reset * seen[:, 8:])
        return state

    keras.utils.set_random_seed(0)
    found = rewritten(Formula(steps, kernel=(3, 12), recurrent=(4, 12)), (5, 3))
    assert "for t in range(" in found.source
    assert "(-1, 2, 4)" not in found.source  # the two gates as a tensor with an axis of its own


def test_inputs_have_the_names_that_the_layer_gives_them():
    class Mixing(keras.layers.Layer):
        def call(self, inputs):
            values, weights = inputs
            return tf.stack([tf.tanh(values[:, t] * weights[:, t]) for t in range(5)], axis=1)

    found = rewritten(Mixing(), [(5, 3), (5, 3)])
    assert "        values, weights = inputs\n" in found.source
