"""Layers that look values up: by token, by position, by length."""

import keras
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Formula, Function

STEPS, SIZE, WORDS, PICKED = 6, 4, 9, 3


def steps(rng, count=8):
    return rng.normal(size=(count, STEPS, SIZE)).astype("float32")


class Picked(keras.Layer):
    """Some steps of a sequence, by their positions."""

    def call(self, inputs):
        x, positions = inputs
        chosen = tf.cast(positions, "int32")
        found = [tf.gather(x, chosen[:, i], batch_dims=1) for i in range(positions.shape[1])]
        return tf.stack(found, axis=1)


def picked(function):
    return lambda: Formula(lambda layer, inputs: function(*inputs)), None


def by_product(x, positions, shift=0):
    return ops.matmul(ops.one_hot(ops.cast(positions, "int32") + shift, STEPS), x)


PICKED_STEPS = Function(
    "picked steps",
    Picked,
    [(STEPS, SIZE), (PICKED,)],
    lambda rng: [steps(rng), rng.integers(0, STEPS, (8, PICKED))],
    right={
        "one gather": picked(lambda x, p: tf.gather(x, tf.cast(p, "int32"), batch_dims=1)),
        "one-hot product": picked(by_product),
    },
    wrong={
        "counted from one": picked(lambda x, p: by_product(x, p, shift=-1)),
        "steps of the first sample for all": picked(
            lambda x, p: tf.gather(x[0], tf.cast(p, "int32"))
        ),
        "in order of position": picked(lambda x, p: by_product(x, ops.sort(p, axis=1))),
        "the first steps": picked(lambda x, p: x[:, :PICKED]),
    },
)


class EmbeddedTokens(keras.Layer):
    """Token and position embeddings, token by token."""

    def build(self, shape):
        self.table = self.add_weight(name="table", shape=(WORDS, SIZE))
        self.places = self.add_weight(name="places", shape=(STEPS, SIZE))

    def call(self, ids):
        ids = tf.cast(ids, "int32")
        rows = [tf.gather(self.table, ids[:, t]) + self.places[t] for t in range(STEPS)]
        return tf.stack(rows, axis=1) * SIZE**0.5


def embedded(scale=SIZE**0.5, places=lambda p: p, ids=lambda i: i, scaled=True):
    def function(layer, tokens):
        rows = ops.matmul(ops.one_hot(ids(ops.cast(tokens, "int32")), WORDS), layer.table)
        if scaled:
            return scale * (rows + places(layer.places))
        return scale * rows + places(layer.places)

    return lambda: Formula(function, table=(WORDS, SIZE), places=(STEPS, SIZE)), None


EMBEDDED_TOKENS = Function(
    "token and position embeddings",
    EmbeddedTokens,
    (STEPS,),
    lambda rng: rng.integers(0, WORDS, (8, STEPS)),
    right={"one-hot product": embedded()},
    wrong={
        "positions backwards": embedded(places=lambda p: p[::-1]),
        "positions not scaled": embedded(scaled=False),
        "last word read as the one before": embedded(ids=lambda i: ops.minimum(i, WORDS - 2)),
        "tokens backwards": embedded(ids=lambda i: i[:, ::-1]),
        "no positions": embedded(places=lambda p: 0 * p),
    },
)


class LastStep(keras.Layer):
    """The last step that belongs to a sequence, by its length."""

    def call(self, x, length):
        last = x[:, 0]
        for t in range(1, x.shape[1]):
            last = tf.where(t < length, x[:, t], last)
        return last


LAST_STEP = Function(
    "last step by length",
    LastStep,
    [(STEPS, SIZE), (1,)],
    lambda rng: [steps(rng), rng.integers(1, STEPS + 1, (8, 1)).astype("float32")],
    right={
        "gather": picked(
            lambda x, n: tf.gather(x, tf.cast(n[:, 0], "int32") - 1, axis=1, batch_dims=1)
        ),
        "one-hot product": picked(
            lambda x, n: ops.einsum(
                "bt,btd->bd", ops.one_hot(ops.cast(n[:, 0], "int32") - 1, STEPS), x
            )
        ),
    },
    wrong={
        "the very last step": picked(lambda x, n: x[:, -1]),
        "one step too early": picked(
            lambda x, n: tf.gather(
                x, tf.maximum(tf.cast(n[:, 0], "int32") - 2, 0), axis=1, batch_dims=1
            )
        ),
        "mean of the steps": picked(
            lambda x, n: (
                ops.sum(
                    ops.where(ops.arange(STEPS, dtype="float32") < n, 1.0, 0.0)[..., None] * x,
                    axis=1,
                )
                / n
            )
        ),
    },
)


class ByClass(keras.Layer):
    """A scale and a shift for each class, as in conditional normalization."""

    def build(self, shapes):
        self.scale = self.add_weight(name="scale", shape=(WORDS, SIZE))
        self.shift = self.add_weight(name="shift", shape=(WORDS, SIZE))

    def call(self, x, label):
        outputs = []
        for c in range(WORDS):
            chosen = tf.cast(tf.equal(label, c), x.dtype)
            outputs.append(chosen[..., None] * (x * self.scale[c] + self.shift[c]))
        return tf.add_n(outputs)


def by_class(roll=0, swapped=False, shifted=True):
    def function(layer, inputs):
        x, label = inputs
        rows = ops.one_hot(ops.cast(label, "int32"), WORDS)
        rows = ops.roll(rows, roll, axis=-1)
        scale, shift = ops.matmul(rows, layer.scale), ops.matmul(rows, layer.shift)
        if swapped:
            scale, shift = shift, scale
        return x * scale + shift if shifted else x * scale

    return lambda: Formula(function, scale=(WORDS, SIZE), shift=(WORDS, SIZE)), None


BY_CLASS = Function(
    "scale and shift by class",
    ByClass,
    [(STEPS, SIZE), (1,)],
    lambda rng: [steps(rng), rng.integers(0, WORDS, (8, 1))],
    right={"rows of a table": by_class()},
    wrong={
        "the next class": by_class(roll=1),
        "scale and shift swapped": by_class(swapped=True),
        "shift dropped": by_class(shifted=False),
    },
)

FUNCTIONS = [PICKED_STEPS, EMBEDDED_TOKENS, LAST_STEP, BY_CLASS]
