"""Layers that skip what a mask marks: given as an input, by Keras, or read off the input."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Formula, Function

STEPS, SIZE = 6, 4
WEIGHTS = {"q": (SIZE, SIZE), "k": (SIZE, SIZE)}


def lengths_as_mask(rng, count=8, steps=STEPS):
    return (np.arange(steps) < rng.integers(1, steps + 1, (count, 1))).astype("float32")


def steps(rng, count=8):
    return rng.normal(size=(count, STEPS, SIZE)).astype("float32")


class MaskedAttention(keras.Layer):
    """Attention of every step to the steps that are no padding."""

    def build(self, shapes):
        self.q = self.add_weight(name="q", shape=(SIZE, SIZE))
        self.k = self.add_weight(name="k", shape=(SIZE, SIZE))

    def call(self, inputs):
        x, mask = inputs
        outputs = []
        for t in range(x.shape[1]):
            scores = tf.reduce_sum((x[:, t : t + 1] @ self.q) * (x @ self.k), axis=-1)
            weights = tf.nn.softmax(scores + (1 - mask) * -1e9)
            outputs.append(tf.reduce_sum(weights[..., None] * x, axis=1))
        return tf.stack(outputs, axis=1)


def attend(scores, penalty, transposed=False):
    """A rewrite: its scores, from q and k, and what it does to them with the mask."""

    def function(layer, inputs):
        x, mask = inputs
        found = penalty(scores(x @ layer.q, x @ layer.k), mask)
        return ops.matmul(ops.softmax(found, axis=-1), x)

    return lambda: Formula(function, **WEIGHTS)


def dot(q, k):
    return ops.matmul(q, ops.transpose(k, (0, 2, 1)))


def less(scores, mask):
    return scores + (1 - mask[:, None]) * -1e9


def chosen(scores, mask):
    return ops.where(ops.cast(mask[:, None], "bool"), scores, -1e9)


MASKED_ATTENTION = Function(
    "masked attention",
    MaskedAttention,
    [(STEPS, SIZE), (STEPS,)],
    lambda rng: [steps(rng), lengths_as_mask(rng)],
    right={
        "all steps at once": (attend(dot, less), None),
        "truth values": (attend(dot, chosen), None),
        "einsum": (attend(lambda q, k: ops.einsum("btd,bsd->bts", q, k), less), None),
        "a smaller penalty": (attend(dot, lambda s, m: s - 1e8 * (1 - m[:, None])), None),
    },
    wrong={
        "query and key swapped": (attend(lambda q, k: dot(k, q), less), None),
        "scores scaled": (attend(lambda q, k: dot(q, k) / SIZE**0.5, less), None),
        "no scores at all": (attend(lambda q, k: 0 * dot(q, k), less), None),
        "keys left out of the scores": (attend(lambda q, k: dot(q, q), less), None),
        "mask ignored": (attend(dot, lambda s, m: s), None),
        "mask turned round": (attend(dot, lambda s, m: s + m[:, None] * -1e9), None),
        "mask of the queries": (attend(dot, lambda s, m: s + (1 - m[..., None]) * -1e9), None),
        "masked scores are zero, not left out": (
            attend(dot, lambda s, m: s * m[:, None]),
            None,
        ),
    },
)


class MaskedMean(keras.Layer):
    """The mean of the steps that count; each input is an argument of its own."""

    def call(self, x, mask):
        total, count = x[:, 0] * mask[:, :1], mask[:, :1]
        for t in range(1, x.shape[1]):
            total = total + x[:, t] * mask[:, t : t + 1]
            count = count + mask[:, t : t + 1]
        return total / tf.maximum(count, 1.0)


def pool(function):
    return lambda: Formula(lambda layer, inputs: function(*inputs)), None


MASKED_MEAN = Function(
    "masked mean",
    MaskedMean,
    [(STEPS, SIZE), (STEPS,)],
    lambda rng: [steps(rng), lengths_as_mask(rng)],
    right={
        "product": pool(
            lambda x, m: (
                ops.einsum("btd,bt->bd", x, m) / ops.maximum(ops.sum(m, axis=1, keepdims=True), 1)
            )
        ),
        "weights first": pool(
            lambda x, m: ops.einsum(
                "btd,bt->bd", x, m / ops.maximum(ops.sum(m, axis=1, keepdims=True), 1)
            )
        ),
    },
    wrong={
        "divided by all steps": pool(lambda x, m: ops.mean(x * m[..., None], axis=1)),
        "mean of everything": pool(lambda x, m: ops.mean(x, axis=1)),
        "sum": pool(lambda x, m: ops.einsum("btd,bt->bd", x, m)),
        "an empty mask divides by zero": pool(
            lambda x, m: ops.einsum("btd,bt->bd", x, m) / ops.sum(m, axis=1, keepdims=True)
        ),
        "one step too many counted": pool(
            lambda x, m: ops.einsum("btd,bt->bd", x, m) / (1 + ops.sum(m, axis=1, keepdims=True))
        ),
    },
)


class StepwiseNetwork(keras.Layer):
    """A simple recurrence that keeps its state over the steps that Keras masks."""

    def __init__(self, heeds=True, resets=False):
        super().__init__()
        self.heeds, self.resets = heeds, resets
        self.supports_masking = True

    def build(self, shape):
        self.w = self.add_weight(name="w", shape=(shape[-1], SIZE))
        self.u = self.add_weight(name="u", shape=(SIZE, SIZE), initializer="orthogonal")
        self.b = self.add_weight(name="b", shape=(SIZE,), initializer="zeros")

    def call(self, x, mask=None):
        h = ops.zeros_like(x[:, 0] @ self.w)
        for t in range(x.shape[1]):
            new = ops.tanh(x[:, t] @ self.w + h @ self.u + self.b)
            if mask is not None and self.heeds:
                kept = ops.zeros_like(h) if self.resets else h
                new = ops.where(mask[:, t : t + 1], new, kept)
            h = new
        return h

    def compute_mask(self, inputs, mask):
        return None


def networks():
    return keras.layers.SimpleRNN(SIZE, unroll=True)


RECURRENCE = Function(
    "recurrence with a Keras mask",
    StepwiseNetwork,
    (STEPS, SIZE),
    steps,
    right={
        "SimpleRNN": (networks, None),
        "SimpleRNN, rolled": (lambda: keras.layers.SimpleRNN(SIZE), None),
    },
    wrong={
        "mask ignored": (lambda: StepwiseNetwork(heeds=False), None),
        "state reset where masked": (lambda: StepwiseNetwork(resets=True), None),
        "mask lost on the way": (
            lambda: keras.Sequential([keras.layers.Cropping1D((0, 0)), networks()]),
            None,
        ),
    },
)


def average(tokens=12, **options):
    inputs = keras.Input((STEPS,), dtype="int32")
    embedded = keras.layers.Embedding(tokens, SIZE, **options)(inputs)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(embedded))


def average_of_rows(first=1, divide_by=None):
    def function(layer, ids):
        known = ops.cast(ids >= first, "float32")
        total = ops.einsum("bt,btd->bd", known, ops.one_hot(ids, 12) @ layer.table)
        return total / (divide_by or ops.sum(known, axis=1, keepdims=True))

    return lambda: Formula(function, table=(12, SIZE)), None


TOKENS = Function(
    "mean of embedded tokens",
    lambda: average(mask_zero=True),
    (STEPS,),
    lambda rng: rng.integers(0, 12, (8, STEPS)) * lengths_as_mask(rng).astype("int64"),
    right={
        "one-hot product": average_of_rows(),
        "the same model": (lambda: average(mask_zero=True), None),
    },
    wrong={
        "padding counted": (average, None),
        "padding counted in the mean": average_of_rows(divide_by=STEPS),
        "first word taken for padding": average_of_rows(first=2),
    },
)


class PaddedPooling(keras.Layer):
    """Attention pooling over the steps that are not all zeros."""

    def build(self, shape):
        self.score = self.add_weight(name="score", shape=(shape[-1], 1))

    def call(self, x):
        padding = tf.reduce_all(tf.equal(x, 0), axis=-1)
        scores = tf.concat([x[:, t] @ self.score for t in range(x.shape[1])], axis=1)
        weights = tf.nn.softmax(tf.where(padding, -1e9, scores))
        return tf.reduce_sum(weights[..., None] * x, axis=1)


def pooled(padding):
    def function(layer, x):
        scores = (x @ layer.score)[..., 0] - 1e9 * ops.cast(padding(x), "float32")
        return ops.einsum("bt,btd->bd", ops.softmax(scores), x)

    return lambda: Formula(function, score=(SIZE, 1)), None


PADDED_POOLING = Function(
    "attention pooling without padding",
    PaddedPooling,
    (STEPS, SIZE),
    lambda rng: steps(rng) * lengths_as_mask(rng)[..., None],
    right={
        "product": pooled(lambda x: ops.all(ops.equal(x, 0), axis=-1)),
        "sum of magnitudes": pooled(lambda x: ops.equal(ops.sum(ops.abs(x), axis=-1), 0)),
    },
    wrong={
        "padding takes part": pooled(lambda x: ops.zeros_like(x[..., 0])),
        "one zero is enough": pooled(lambda x: ops.any(ops.equal(x, 0), axis=-1)),
    },
)


class PartialConvolution(keras.Layer):
    """A convolution over the known pixels, made up for the others (Liu et al., 2018)."""

    def build(self, shapes):
        self.kernel = self.add_weight(name="kernel", shape=(3, 3, shapes["image"][-1], 2))
        self.bias = self.add_weight(name="bias", shape=(2,), initializer="zeros")

    def call(self, inputs):
        image, known = inputs["image"], inputs["known"]
        outputs = []
        for f in range(2):
            kernel = self.kernel[..., f : f + 1]
            outputs.append(tf.nn.conv2d(image * known, kernel, 1, "SAME"))
        count = tf.nn.conv2d(known, tf.ones((3, 3, 1, 1)), 1, "SAME")
        scale = tf.where(count > 0, 9 / tf.maximum(count, 1), 0.0)
        return tf.concat(outputs, axis=-1) * scale + self.bias


def partial(window=9.0, inside=True, scaled_bias=False):
    def function(layer, inputs):
        image, known = inputs["image"], inputs["known"]
        found = ops.conv(image * known if inside else image, layer.kernel, padding="same")
        count = ops.conv(known, ops.ones((3, 3, 1, 1)), padding="same")
        scale = ops.where(count > 0, window / ops.maximum(count, 1), 0.0)
        return (found + layer.bias) * scale if scaled_bias else found * scale + layer.bias

    return lambda: Formula(function, kernel=(3, 3, 2, 2), bias=(2,)), None


PARTIAL_CONVOLUTION = Function(
    "partial convolution",
    PartialConvolution,
    {"image": (5, 5, 2), "known": (5, 5, 1)},
    lambda rng: {
        "image": rng.normal(size=(6, 5, 5, 2)).astype("float32"),
        "known": (rng.random((6, 5, 5, 1)) < 0.7).astype("float32"),
    },
    right={"one convolution": partial()},
    wrong={
        "unknown pixels taken in": partial(inside=False),
        "mean without the size of the window": partial(window=1.0),
        "bias scaled too": partial(scaled_bias=True),
    },
)

FUNCTIONS = [
    MASKED_ATTENTION,
    MASKED_MEAN,
    RECURRENCE,
    TOKENS,
    PADDED_POOLING,
    PARTIAL_CONVOLUTION,
]
