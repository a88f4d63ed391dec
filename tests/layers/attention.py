"""Attention written head by head and step by step."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Pattern, register


@register
class Head(keras.Layer):
    """One attention head."""

    def __init__(self, size=4, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.query = keras.layers.Dense(size)
        self.key = keras.layers.Dense(size)
        self.value = keras.layers.Dense(size)

    def build(self, input_shape):
        for dense in (self.query, self.key, self.value):
            dense.build(input_shape)

    def call(self, x):
        scores = ops.einsum("bqd,bkd->bqk", self.query(x), self.key(x)) / self.size**0.5
        return ops.matmul(ops.softmax(scores, axis=-1), self.value(x))


@register
class HeadList(keras.Layer):
    """A list of heads, one after the other."""

    def __init__(self, heads=6, size=4, steps=12, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.count = heads
        self.steps = steps
        self.heads = [Head(size) for _ in range(heads)]
        self.join = keras.layers.Dense(size * heads)

    def get_config(self):
        return {**super().get_config(), "heads": self.count, "size": self.size, "steps": self.steps}

    def build(self, input_shape):
        for head in self.heads:
            head.build(input_shape)
        self.join.build((*input_shape[:-1], self.size * self.count))

    def call(self, x):
        return self.join(ops.concatenate([head(x) for head in self.heads], axis=-1))


def one_projection(heads=6, size=4, steps=12):
    inputs = keras.Input((steps, heads * size))
    attention = keras.layers.MultiHeadAttention(heads, size)
    return keras.Model(inputs, attention(inputs, inputs))


def port_heads(slow, fast, order=None, scale=1.0):
    attention = fast.layers[-1]
    order = range(slow.count) if order is None else order
    chosen = [slow.heads[i] for i in order]
    for name, target in (
        ("query", attention.query_dense),
        ("key", attention.key_dense),
        ("value", attention.value_dense),
    ):
        factor = scale if name == "query" else 1.0
        denses = [getattr(head, name) for head in chosen]
        target.kernel.assign(factor * np.stack([np.asarray(d.kernel) for d in denses], axis=1))
        target.bias.assign(factor * np.stack([np.asarray(d.bias) for d in denses]))
    join = np.asarray(slow.join.kernel).reshape(slow.count, slow.size, -1)
    attention.output_dense.kernel.assign(join)
    attention.output_dense.bias.assign(slow.join.bias)


HEAD_LIST = Pattern(
    "list of heads",
    HeadList,
    (12, 24),
    {"loop-over-branches": "warning"},
    real_shape=(64, 128),
    real_sizes={"heads": 8, "size": 16, "steps": 64},
    right={"MultiHeadAttention": (one_projection, port_heads)},
    wrong={
        "heads in another order": (
            one_projection,
            lambda slow, fast: port_heads(slow, fast, order=[1, 0, 2, 3, 4, 5]),
        ),
        "scaled twice": (one_projection, lambda slow, fast: port_heads(slow, fast, scale=0.5)),
    },
)


@register
class StepwiseAttention(keras.Layer):
    """Additive attention, one query step at a time."""

    def __init__(self, units=8, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.query = keras.layers.Dense(units)
        self.key = keras.layers.Dense(units)
        self.score = keras.layers.Dense(1)

    def build(self, input_shape):
        self.query.build(input_shape)
        self.key.build(input_shape)
        self.score.build((None, None, self.units))

    def call(self, x):
        keys = self.key(x)
        contexts = []
        for t in range(x.shape[1]):
            query = self.query(x[:, t : t + 1, :])
            weights = tf.nn.softmax(self.score(tf.nn.tanh(query + keys)), axis=1)
            contexts.append(tf.reduce_sum(weights * x, axis=1))
        return tf.stack(contexts, axis=1)


@register
class BatchedAttention(StepwiseAttention):
    """The same with all query steps at once."""

    def __init__(self, units=8, axis=2, **kwargs):
        super().__init__(units, **kwargs)
        self.axis = axis

    def call(self, x):
        queries, keys = self.query(x)[:, :, None], self.key(x)[:, None]
        scores = self.score(ops.tanh(queries + keys))[..., 0]
        return ops.einsum("btk,bkf->btf", ops.softmax(scores, axis=self.axis), x)


@register
class DotAttention(BatchedAttention):
    def call(self, x):
        queries, keys = self.query(x)[:, :, None], self.key(x)[:, None]
        scores = self.score(queries + keys)[..., 0]
        return ops.einsum("btk,bkf->btf", ops.softmax(scores, axis=2), x)


STEPWISE_ATTENTION = Pattern(
    "step-wise attention",
    StepwiseAttention,
    (12, 6),
    {"loop-over-timesteps": "warning"},
    real_shape=(32, 32),
    real_sizes={"units": 32},
    right={"batched": (BatchedAttention, None)},
    wrong={
        "softmax over the queries": (lambda: BatchedAttention(axis=1), None),
        "tanh dropped": (DotAttention, None),
    },
)

PATTERNS = [HEAD_LIST, STEPWISE_ATTENTION]
