"""Layers with several inputs or outputs, in half precision, or with branches that barely show."""

import keras
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Formula, Function

STEPS, SIZE, UNITS = 5, 4, 3


def steps(rng, count=8, length=STEPS):
    return rng.normal(size=(count, length, SIZE)).astype("float32")


class Fusion(keras.Layer):
    """Two inputs mixed by a gate that a third one sets."""

    def build(self, *shapes):
        self.kernel = self.add_weight(name="kernel", shape=(SIZE, SIZE))

    def call(self, left, right, context):
        mixed = []
        for t in range(STEPS):
            gate = tf.sigmoid(context @ self.kernel)
            mixed.append(gate * left[:, t] + (1 - gate) * right[:, t])
        return tf.stack(mixed, axis=1)


class Mixed(keras.Layer):
    def __init__(self, mix, squash=ops.sigmoid):
        super().__init__()
        self.mix, self.squash = mix, squash

    def build(self, *shapes):
        self.kernel = self.add_weight(name="kernel", shape=(SIZE, SIZE))

    def call(self, left, right, context):
        gate = self.squash(ops.matmul(context, self.kernel))[:, None]
        return self.mix(left, right, gate)


def mixed(mix, **options):
    return lambda: Mixed(mix, **options), None


FUSION = Function(
    "gated fusion",
    Fusion,
    [(STEPS, SIZE), (STEPS, SIZE), (SIZE,)],
    lambda rng: [steps(rng), steps(rng), rng.normal(size=(8, SIZE)).astype("float32")],
    right={
        "all steps at once": mixed(lambda a, b, g: g * a + (1 - g) * b),
        "difference": mixed(lambda a, b, g: b + g * (a - b)),
    },
    wrong={
        "inputs swapped": mixed(lambda a, b, g: g * b + (1 - g) * a),
        "gate of the other input dropped": mixed(lambda a, b, g: g * a + b),
        "hard gate": mixed(lambda a, b, g: g * a + (1 - g) * b, squash=ops.hard_sigmoid),
        "one input twice": mixed(lambda a, b, g: g * a + (1 - g) * a),
    },
)


class Bilinear(keras.Layer):
    """A score of two vectors for each unit."""

    def build(self, shapes):
        shape = (UNITS, SIZE, SIZE)
        self.kernel = self.add_weight(name="kernel", shape=shape)
        self.bias = self.add_weight(name="bias", shape=(UNITS,), initializer="zeros")

    def call(self, inputs):
        x, y = inputs
        scores = [tf.reduce_sum((x @ self.kernel[u]) * y, axis=-1) for u in range(UNITS)]
        return tf.stack(scores, axis=-1) + self.bias


def bilinear(equation, biased=1.0):
    def function(layer, inputs):
        return ops.einsum(equation, inputs[0], layer.kernel, inputs[1]) + biased * layer.bias

    return lambda: Formula(function, kernel=(UNITS, SIZE, SIZE), bias=(UNITS,)), None


BILINEAR = Function(
    "bilinear scores",
    Bilinear,
    [(SIZE,), (SIZE,)],
    lambda rng: [rng.normal(size=(8, SIZE)).astype("float32") for _ in range(2)],
    right={"one einsum": bilinear("bi,uij,bj->bu")},
    wrong={
        "kernel transposed": bilinear("bi,uji,bj->bu"),
        "bias twice": bilinear("bi,uij,bj->bu", biased=2.0),
        "bias dropped": bilinear("bi,uij,bj->bu", biased=0.0),
    },
)


class Modulation(keras.Layer):
    """Features scaled and shifted by a condition (Perez et al., 2018), beside what did it."""

    def build(self, shapes):
        self.scale = self.add_weight(name="scale", shape=(SIZE, SIZE))
        self.shift = self.add_weight(name="shift", shape=(SIZE, SIZE))

    def call(self, inputs):
        x, condition = inputs["features"], inputs["condition"]
        scale, shift = condition @ self.scale, condition @ self.shift
        steps = [x[:, t] * (1 + scale) + shift for t in range(STEPS)]
        return {"features": tf.stack(steps, axis=1), "norm": tf.reduce_sum(scale**2, axis=-1)}


def modulated(function):
    def whole(layer, inputs):
        x, condition = inputs["features"], inputs["condition"]
        scale, shift = ops.matmul(condition, layer.scale), ops.matmul(condition, layer.shift)
        return dict(zip(("features", "norm"), function(x, scale, shift), strict=True))

    return lambda: Formula(whole, scale=(SIZE, SIZE), shift=(SIZE, SIZE)), None


def squares(scale):
    return ops.sum(ops.square(scale), axis=-1)


MODULATION = Function(
    "conditional modulation",
    Modulation,
    {"features": (STEPS, SIZE), "condition": (SIZE,)},
    lambda rng: {
        "features": steps(rng),
        "condition": rng.normal(size=(8, SIZE)).astype("float32"),
    },
    right={
        "broadcast": modulated(lambda x, s, t: (x * (1 + s[:, None]) + t[:, None], squares(s))),
        "sum of parts": modulated(lambda x, s, t: (x + x * s[:, None] + t[:, None], squares(s))),
    },
    wrong={
        "scale and shift swapped": modulated(
            lambda x, s, t: (x * (1 + t[:, None]) + s[:, None], squares(s))
        ),
        "one not added": modulated(lambda x, s, t: (x * s[:, None] + t[:, None], squares(s))),
        "norm of the shift": modulated(
            lambda x, s, t: (x * (1 + s[:, None]) + t[:, None], squares(t))
        ),
        "norm is the root": modulated(
            lambda x, s, t: (x * (1 + s[:, None]) + t[:, None], ops.sqrt(squares(s)))
        ),
    },
)


class CrossAttention(keras.Layer):
    """Queries of one sequence, keys and values of another."""

    def build(self, *shapes):
        self.q = self.add_weight(name="q", shape=(SIZE, SIZE))
        self.k = self.add_weight(name="k", shape=(SIZE, SIZE))
        self.v = self.add_weight(name="v", shape=(SIZE, SIZE))
        self.bias = self.add_weight(name="bias", shape=(SIZE,), initializer="zeros")

    def call(self, query, memory):
        keys = memory @ self.k + self.bias
        outputs = []
        for t in range(query.shape[1]):
            scores = tf.reduce_sum((query[:, t : t + 1] @ self.q) * keys, axis=-1) / SIZE**0.5
            outputs.append(
                tf.reduce_sum(tf.nn.softmax(scores)[..., None] * (memory @ self.v), axis=1)
            )
        return tf.stack(outputs, axis=1)


def crossed(scale=SIZE**-0.5, values="v", biased=True, axis=-1):
    def function(layer, inputs):
        query, memory = inputs
        keys = ops.matmul(memory, layer.k) + (layer.bias if biased else 0)
        scores = ops.einsum("btd,bsd->bts", ops.matmul(query, layer.q), keys)
        weights = ops.softmax(scale * scores, axis=axis)
        return ops.matmul(weights, ops.matmul(memory, getattr(layer, values)))

    shapes = {name: (SIZE, SIZE) for name in "qkv"}
    return lambda: Formula(function, **shapes, bias=(SIZE,)), None


CROSS_ATTENTION = Function(
    "cross attention",
    CrossAttention,
    [(STEPS, SIZE), (STEPS + 2, SIZE)],
    lambda rng: [steps(rng), steps(rng, length=STEPS + 2)],
    right={
        "all queries at once": crossed(),
        "bias of the keys dropped, which a softmax ignores": crossed(biased=False),
    },
    wrong={
        "not scaled": crossed(scale=1.0),
        "softmax over the queries": crossed(axis=1),
        "keys taken for values": crossed(values="k"),
    },
)


class ScaledBranch(keras.Layer):
    """A residual branch that starts from nearly nothing (Touvron et al., 2021)."""

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(SIZE, SIZE))
        start = keras.initializers.Constant(1e-6)
        self.gamma = self.add_weight(name="gamma", shape=(SIZE,), initializer=start)

    def call(self, x):
        rows = [x[:, t] + self.gamma * tf.tanh(x[:, t] @ self.kernel) for t in range(STEPS)]
        return tf.stack(rows, axis=1)


def branch(squash=ops.tanh, added=True):
    def function(layer, x):
        found = layer.gamma * squash(ops.matmul(x, layer.kernel))
        return x + found if added else x + 0 * found

    return lambda: Formula(function, kernel=(SIZE, SIZE), gamma=(SIZE,)), None


SCALED_BRANCH = Function(
    "branch with a small scale",
    ScaledBranch,
    (STEPS, SIZE),
    steps,
    right={"all steps at once": branch()},
    wrong={
        "branch dropped": branch(added=False),
        "another activation": branch(squash=ops.relu),
    },
)


class Levels(keras.Layer):
    """Sums rounded to whole levels, and their codes."""

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(SIZE, UNITS))

    def call(self, x):
        sums = [tf.reduce_sum(x * self.kernel[:, u], axis=-1) for u in range(UNITS)]
        total = tf.stack(sums, axis=-1)
        return total, tf.cast(tf.round(tf.clip_by_value(total, -2, 2)), "int32")


def levels(to_whole=ops.round, low=-2):
    def function(layer, x):
        total = ops.matmul(x, layer.kernel)
        return total, ops.cast(to_whole(ops.clip(total, low, 2)), "int32")

    return lambda: Formula(function, kernel=(SIZE, UNITS)), None


LEVELS = Function(
    "sums and their levels",
    Levels,
    (STEPS, SIZE),
    steps,
    right={"product": levels()},
    wrong={
        "cut off, not rounded": levels(to_whole=lambda x: x),
        "rounded down": levels(to_whole=ops.floor),
        "one level fewer": levels(low=-1),
    },
)


class HalfFilters(keras.Layer):
    """One product for each unit, in half precision."""

    def __init__(self):
        super().__init__(dtype="mixed_float16")

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(SIZE, UNITS))
        self.bias = self.add_weight(name="bias", shape=(UNITS,), initializer="zeros")

    def call(self, x):
        units = [x @ self.kernel[:, u : u + 1] for u in range(UNITS)]
        return tf.nn.relu(tf.concat(units, axis=-1) + self.bias)


HALF_FILTERS = Function(
    "products in half precision",
    HalfFilters,
    (STEPS, SIZE),
    steps,
    right={
        "Dense": (
            lambda: keras.layers.Dense(UNITS, activation="relu", dtype="mixed_float16"),
            None,
        )
    },
    wrong={
        "activation dropped": (lambda: keras.layers.Dense(UNITS, dtype="mixed_float16"), None),
        "another activation": (
            lambda: keras.layers.Dense(UNITS, activation="silu", dtype="mixed_float16"),
            None,
        ),
        "in single precision": (lambda: keras.layers.Dense(UNITS, activation="relu"), None),
    },
)

FUNCTIONS = [
    FUSION,
    BILINEAR,
    MODULATION,
    CROSS_ATTENTION,
    SCALED_BRANCH,
    LEVELS,
    HALF_FILTERS,
]
