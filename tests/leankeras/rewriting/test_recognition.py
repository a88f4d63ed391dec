"""Programs that are one of Keras's own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.equivalence import check_equivalence
from leankeras.errors import RewriteError
from leankeras.rewriting import drafts
from leankeras.rewriting.batch import batch_sizes
from tests.layers.pattern import Formula
from tests.leankeras.rewriting.trying import rewritten, run_source


def heads(layer, x):
    return tf.stack([x @ layer.kernel[h] + layer.bias[h] for h in range(3)], axis=2)


def strided(layer, x):
    parts = [tf.nn.conv1d(x, layer.kernel[:, :, f : f + 1], 2, "SAME") for f in range(6)]
    return tf.nn.relu(tf.concat(parts, axis=-1))


def dilated(layer, x):
    return tf.concat(
        [
            tf.nn.conv2d(x, layer.kernel[..., f : f + 1], 1, "VALID", dilations=2)
            for f in range(3)
        ],
        axis=-1,
    )  # fmt: skip


def windows(layer, x):
    rows = [
        [tf.reduce_mean(x[:, i : i + 2, j : j + 3], axis=(1, 2)) for j in range(0, 6, 3)]
        for i in range(0, 4, 2)
    ]
    return tf.stack([tf.stack(row, axis=1) for row in rows], axis=1)


def over_time(layer, x):
    total = x[:, 0]
    for t in range(1, x.shape[1]):
        total = tf.maximum(total, x[:, t])
    return total


def time_windows(layer, x):
    return tf.stack([tf.reduce_max(x[:, t : t + 2], axis=1) for t in range(0, 6, 2)], axis=1)


def over_rows_and_columns(layer, x):
    total = 0.0
    for i in range(4):
        for j in range(5):
            total += x[:, i, j]
    return total / 20


def by_channel(layer, x):
    parts = [
        tf.nn.conv2d(x[..., c : c + 1], layer.kernel[:, :, c : c + 1, None], 1, "SAME")
        for c in range(4)
    ]
    return tf.nn.relu(tf.concat(parts, axis=-1) + layer.bias)


def gates_in_one_weight(layer, x):
    state = carry = tf.zeros((tf.shape(x)[0], 4))
    for t in range(5):
        forget, new, seen, out = (
            x[:, t] @ layer.kernel[g] + state @ layer.recurrent[g] + layer.bias[g] for g in range(4)
        )
        carry = tf.sigmoid(forget) * carry + tf.sigmoid(new) * tf.tanh(seen)
        state = tf.sigmoid(out) * tf.tanh(carry)
    return state


def attention(layer, x):
    heads = []
    for h in range(3):
        query, key, value = (x @ each[h] for each in (layer.query, layer.key, layer.value))
        shares = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) * 2**-0.5)
        heads.append(shares @ value)
    return tf.concat(heads, axis=-1) @ layer.output_kernel


PROJECTION = (3, 6, 2)


@pytest.mark.parametrize(
    ("make", "shape", "kind", "arguments"),
    [
        (lambda: Formula(time_windows), (6, 4), "MaxPooling1D", {"pool_size": (2,)}),
        (lambda: Formula(over_rows_and_columns), (4, 5, 3), "GlobalAveragePooling2D", {}),
        (lambda: Formula(by_channel, kernel=(3, 3, 4), bias=(4,)), (5, 5, 4), "DepthwiseConv2D",
         {"kernel_size": (3, 3), "activation": "relu"}),
        (lambda: Formula(gates_in_one_weight, kernel=(4, 6, 4), recurrent=(4, 4, 4), bias=(4, 4)),
         (5, 6), "LSTM", {"units": 4, "return_sequences": False}),
        (lambda: Formula(heads, kernel=(3, 4, 5), bias=(3, 5)), (6, 4), "EinsumDense",
         {"output_shape": (6, 3, 5), "bias_axes": "de"}),
        (lambda: Formula(strided, kernel=(3, 4, 6)), (8, 4), "Conv1D",
         {"filters": 6, "strides": (2,), "activation": "relu"}),
        (lambda: Formula(dilated, kernel=(2, 2, 4, 3)), (8, 8, 4), "Conv2D",
         {"dilation_rate": (2, 2), "padding": "valid"}),
        (lambda: Formula(windows), (4, 6, 2), "AveragePooling2D", {"pool_size": (2, 3)}),
        (lambda: Formula(over_time), (6, 4), "GlobalMaxPooling1D", {}),
    ],
)  # fmt: skip
def test_a_stock_layer_is_found(make, shape, kind, arguments):
    keras.utils.set_random_seed(0)
    found = rewritten(make(), shape)
    assert type(found.layer).__name__ == kind
    assert found.equivalence.equivalent
    config = found.layer.get_config()
    assert {name: config[name] for name in arguments} == arguments


def test_heads_of_attention_are_one_layer():
    keras.utils.set_random_seed(0)
    shapes = dict.fromkeys(("query", "key", "value"), PROJECTION)
    layer = Formula(attention, **shapes, output_kernel=(6, 5))
    found = rewritten(layer, (4, 6))
    assert found.name == "MultiHeadAttention"
    config = found.layer.layers[1].get_config()
    wanted = {"num_heads": 3, "key_dim": 2, "use_bias": False, "output_shape": (5,)}
    assert {name: config[name] for name in wanted} == wanted
    printed, port = run_source(found.source)
    assert check_equivalence(layer, printed, (4, 6), port=port).equivalent


def test_heads_that_are_scaled_otherwise_are_no_such_layer():
    def scaled(layer, x):
        return attention(layer, x * 1.5)

    shapes = dict.fromkeys(("query", "key", "value"), PROJECTION)
    found = rewritten(Formula(scaled, **shapes, output_kernel=(6, 5)), (4, 6))
    assert found.name.startswith("program")


def test_a_weight_in_two_places_makes_no_stock_layer():
    def twice(layer, x):
        parts = [x @ layer.kernel[:, u : u + 1] for u in (0, 1, 2, 1)]
        return tf.concat(parts, axis=-1)

    found = rewritten(Formula(twice, kernel=(4, 3)), (6, 4))
    assert type(found.layer).__name__ == "Program"
    assert [tuple(weight.shape) for weight in found.layer.weights] == [(4, 3)]


def test_the_sizes_of_the_batch_are_sizes_of_nothing_else():
    assert batch_sizes([(6, 4), (3,)]) == (5, 7)
    assert batch_sizes([(5, 4), (7, 11), ()]) == (13, 17)
    everything = batch_sizes([np.arange(1, 30)])
    assert everything[0] < everything[1]


def test_a_layer_of_five_by_seven_is_no_harder():
    def steps(layer, x):
        return tf.stack([tf.tanh(x[:, t] @ layer.kernel) for t in range(5)], axis=1)

    assert rewritten(Formula(steps, kernel=(7, 5)), (5, 7)).name == "Dense"


def test_a_loop_over_samples_is_merged_where_they_are_treated_alike():
    def samples(layer, x):
        return tf.stack([tf.tanh(x[i] @ layer.kernel) for i in range(x.shape[0])])

    assert rewritten(Formula(samples, kernel=(4, 3)), (6, 4)).equivalence.equivalent


def test_samples_that_are_treated_differently_are_refused():
    def samples(layer, x):
        return tf.stack([x[i] * float(i + 1) for i in range(x.shape[0])])

    with pytest.raises(RewriteError, match="depends on the size of the batch"):
        rewritten(Formula(samples), (6, 4))


STEPS, FEATURES, UNITS = 5, 3, 4


@pytest.fixture
def one_layout(monkeypatch):
    """The first layout will do: the others differ in time alone."""
    monkeypatch.setattr(drafts, "LAYOUTS", drafts.LAYOUTS[:1])


def gates(names, *kinds):
    """The shapes of a kernel W, a recurrent kernel U and biases b and c for each gate."""
    shapes = {"W": (FEATURES, UNITS), "U": (UNITS, UNITS), "b": (UNITS,), "c": (UNITS,)}
    return {f"{kind}{name}": shapes[kind] for kind in kinds for name in names}


def over_steps(step, states=1, backwards=False, sequence=False):
    """A layer's function that goes through the steps and gives its first state."""

    def run(layer, x):
        state, outputs = [tf.zeros((tf.shape(x)[0], UNITS))] * states, []
        for t in reversed(range(STEPS)) if backwards else range(STEPS):
            state = step(layer, x[:, t], *state)
            outputs.append(state[0])
        return tf.stack(outputs, axis=1) if sequence else outputs[-1]

    return run


def simple(layer, x, h):
    return [tf.tanh(x @ layer.W + h @ layer.U + layer.b)]


def simple_side_by_side(layer, x, h):
    return [tf.nn.relu(tf.concat([x, h], axis=-1) @ layer.W)]


def gru_reset_before(layer, x, h):
    z = tf.sigmoid(x @ layer.Wz + h @ layer.Uz + layer.bz)
    r = tf.sigmoid(x @ layer.Wr + h @ layer.Ur + layer.br)
    return [z * h + (1 - z) * tf.tanh(x @ layer.Wh + (r * h) @ layer.Uh + layer.bh)]


def gru_reset_after(layer, x, h):
    z = tf.sigmoid(x @ layer.Wz + layer.bz + h @ layer.Uz + layer.cz)
    r = tf.sigmoid(x @ layer.Wr + layer.br + h @ layer.Ur + layer.cr)
    return [z * h + (1 - z) * tf.tanh(x @ layer.Wh + layer.bh + r * (h @ layer.Uh + layer.ch))]


def gru_of_torch(layer, x, h):
    """With the gates in the order in which PyTorch has them."""
    given, seen = tf.split(x @ layer.W + layer.b, 3, -1), tf.split(h @ layer.U + layer.c, 3, -1)
    r, z = (tf.sigmoid(given[gate] + seen[gate]) for gate in range(2))
    return [(1 - z) * tf.tanh(given[2] + r * seen[2]) + z * h]


def lstm_side_by_side(layer, x, h, c):
    i, f, g, o = tf.split(tf.concat([x, h], axis=-1) @ layer.W, 4, axis=-1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return [tf.sigmoid(o) * tf.tanh(c), c]


WIDE = {"W": (FEATURES, 3 * UNITS), "U": (UNITS, 3 * UNITS), "b": (3 * UNITS,), "c": (3 * UNITS,)}


@pytest.mark.parametrize(
    ("step", "options", "shapes", "kind", "arguments"),
    [
        (simple, {"sequence": True}, gates([""], *"WUb"), "SimpleRNN", {"return_sequences": True}),
        (simple_side_by_side, {"backwards": True}, {"W": (FEATURES + UNITS, UNITS)}, "SimpleRNN",
         {"activation": "relu", "use_bias": False, "go_backwards": True}),
        (gru_reset_before, {}, gates("zrh", *"WUb"), "GRU", {"reset_after": False}),
        (gru_reset_after, {}, gates("zrh", *"WUbc"), "GRU", {"reset_after": True}),
        (gru_of_torch, {"sequence": True}, WIDE, "GRU", {"reset_after": True}),
        (lstm_side_by_side, {"states": 2}, {"W": (FEATURES + UNITS, 4 * UNITS)}, "LSTM",
         {"use_bias": False}),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("one_layout")
def test_a_recurrence_written_by_hand_is_found(step, options, shapes, kind, arguments):
    keras.utils.set_random_seed(0)
    layer = Formula(over_steps(step, **options), **shapes)
    found = rewritten(layer, (STEPS, FEATURES))
    assert found.name == kind
    config = found.layer.get_config()
    assert {name: config[name] for name in arguments} == arguments
    printed, port = run_source(found.source)
    assert check_equivalence(layer, printed, (STEPS, FEATURES), port=port).equivalent


def update_the_other_way_round(layer, x, h):
    z = tf.sigmoid(x @ layer.Wz + h @ layer.Uz + layer.bz)
    r = tf.sigmoid(x @ layer.Wr + h @ layer.Ur + layer.br)
    return [(1 - z) * h + z * tf.tanh(x @ layer.Wh + (r * h) @ layer.Uh + layer.bh)]


def reset_after_everything(layer, x, h):
    z = tf.sigmoid(x @ layer.Wz + layer.bz + h @ layer.Uz + layer.cz)
    r = tf.sigmoid(x @ layer.Wr + layer.br + h @ layer.Ur + layer.cr)
    return [z * h + (1 - z) * tf.tanh(r * (x @ layer.Wh + layer.bh + h @ layer.Uh + layer.ch))]


def lstm_with_a_peephole(layer, x, h, c):
    i, f, g, o = tf.split(tf.concat([x, h], axis=-1) @ layer.W, 4, axis=-1)
    c = tf.sigmoid(f + c) * c + tf.sigmoid(i) * tf.tanh(g)
    return [tf.sigmoid(o) * tf.tanh(c), c]


@pytest.mark.parametrize(
    ("step", "states", "shapes"),
    [
        (update_the_other_way_round, 1, gates("zrh", *"WUb")),
        (reset_after_everything, 1, gates("zrh", *"WUbc")),
        (lstm_with_a_peephole, 2, {"W": (FEATURES + UNITS, 4 * UNITS)}),
    ],
)
@pytest.mark.usefixtures("one_layout")
def test_a_recurrence_that_only_looks_like_one_of_keras_is_none(step, states, shapes):
    keras.utils.set_random_seed(0)
    found = rewritten(Formula(over_steps(step, states), **shapes), (STEPS, FEATURES))
    assert found.name.startswith("program")
    assert found.equivalence.equivalent
