"""Capsules, forests and experts: many small branches, one after the other."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Pattern, register


def squash(s):
    norm2 = ops.sum(ops.square(s), axis=-1, keepdims=True)
    return norm2 / (1 + norm2) * s / ops.sqrt(norm2 + 1e-7)


@register
class CapsuleRouting(keras.Layer):
    """Routing by agreement (Sabour et al., 2017), with a loop over the output capsules."""

    def __init__(self, capsules=6, size=4, routings=3, **kwargs):
        super().__init__(**kwargs)
        self.capsules = capsules
        self.size = size
        self.routings = routings

    def build(self, input_shape):
        _, inputs, features = input_shape
        self.transforms = [
            self.add_weight(shape=(inputs, features, self.size), name=f"transform_{j}")
            for j in range(self.capsules)
        ]

    def call(self, u):
        votes = []
        for transform in self.transforms:
            votes.append(tf.einsum("bif,ifs->bis", u, transform))
        votes = tf.stack(votes, axis=1)
        logits = tf.zeros_like(votes[..., 0])
        for _ in range(self.routings):
            coupling = tf.nn.softmax(logits, axis=1)
            outputs = squash(tf.einsum("bji,bjis->bjs", coupling, votes))
            logits = logits + tf.einsum("bjis,bjs->bji", votes, outputs)
        return outputs


@register
class FusedCapsules(keras.Layer):
    def __init__(self, capsules=6, size=4, routings=3, axis=1, **kwargs):
        super().__init__(**kwargs)
        self.capsules = capsules
        self.size = size
        self.routings = routings
        self.axis = axis

    def build(self, input_shape):
        _, inputs, features = input_shape
        self.transform = self.add_weight(
            shape=(self.capsules, inputs, features, self.size), name="transform"
        )

    def call(self, u):
        votes = ops.einsum("bif,jifs->bjis", u, self.transform)
        logits = ops.zeros_like(votes[..., 0])
        for _ in range(self.routings):
            coupling = ops.softmax(logits, axis=self.axis)
            outputs = squash(ops.einsum("bji,bjis->bjs", coupling, votes))
            logits = logits + ops.einsum("bjis,bjs->bji", votes, outputs)
        return outputs


def port_capsules(slow, fast):
    fast.transform.assign(np.stack([np.asarray(t) for t in slow.transforms]))


CAPSULES = Pattern(
    "capsule routing",
    CapsuleRouting,
    (10, 5),
    {"loop-over-branches": "warning", "recurrence": "info"},
    real_shape=(128, 8),
    real_sizes={"capsules": 10, "size": 16, "routings": 3},
    right={"one einsum": (FusedCapsules, port_capsules)},
    wrong={
        "too few routings": (lambda: FusedCapsules(routings=2), port_capsules),
        "softmax over the inputs": (lambda: FusedCapsules(axis=2), port_capsules),
    },
)


@register
class SoftForest(keras.Layer):
    """Soft decision trees (Frosst and Hinton, 2017), tree by tree."""

    def __init__(self, trees=6, depth=3, classes=4, **kwargs):
        super().__init__(**kwargs)
        self.trees = trees
        self.depth = depth
        self.classes = classes

    def build(self, input_shape):
        splits, leaves = 2**self.depth - 1, 2**self.depth
        self.splits = [
            self.add_weight(shape=(input_shape[-1], splits), name=f"split_{i}")
            for i in range(self.trees)
        ]
        self.leaves = [
            self.add_weight(shape=(leaves, self.classes), name=f"leaves_{i}")
            for i in range(self.trees)
        ]

    def call(self, x):
        votes = []
        for split, leaves in zip(self.splits, self.leaves, strict=True):
            votes.append(self._tree(x, split, leaves))
        return tf.add_n(votes) / self.trees

    def _tree(self, x, split, leaves):
        right = tf.sigmoid(tf.matmul(x, split))
        reach = tf.ones_like(x[:, :1])
        for level in range(self.depth):
            here = right[:, 2**level - 1 : 2 ** (level + 1) - 1]
            pair = tf.stack([reach * (1 - here), reach * here], axis=2)
            reach = tf.reshape(pair, (-1, 2 ** (level + 1)))
        return tf.matmul(reach, tf.nn.softmax(leaves, axis=-1))


@register
class FusedForest(keras.Layer):
    def __init__(self, trees=6, depth=3, classes=4, scale=None, mirrored=False, **kwargs):
        super().__init__(**kwargs)
        self.trees = trees
        self.depth = depth
        self.classes = classes
        self.scale = scale
        self.mirrored = mirrored

    def build(self, input_shape):
        splits, leaves = 2**self.depth - 1, 2**self.depth
        self.split = self.add_weight(shape=(input_shape[-1], self.trees * splits), name="split")
        self.leaves = self.add_weight(shape=(self.trees, leaves, self.classes), name="leaves")

    def call(self, x):
        right = ops.sigmoid(ops.matmul(x, self.split))
        right = ops.reshape(right, (-1, self.trees, 2**self.depth - 1))
        reach = ops.ones_like(right[..., :1])
        for level in range(self.depth):
            here = right[..., 2**level - 1 : 2 ** (level + 1) - 1]
            ways = [reach * (1 - here), reach * here]
            pair = ops.stack(ways[::-1] if self.mirrored else ways, axis=3)
            reach = ops.reshape(pair, (-1, self.trees, 2 ** (level + 1)))
        scale = 1 / self.trees if self.scale is None else self.scale
        return scale * ops.einsum("btl,tlc->bc", reach, ops.softmax(self.leaves, axis=-1))


def port_forest(slow, fast):
    fast.split.assign(np.concatenate([np.asarray(s) for s in slow.splits], axis=1))
    fast.leaves.assign(np.stack([np.asarray(leaf) for leaf in slow.leaves]))


def port_forest_leaves_reversed(slow, fast):
    fast.split.assign(np.concatenate([np.asarray(s) for s in slow.splits], axis=1))
    fast.leaves.assign(np.stack([np.asarray(leaf)[::-1] for leaf in slow.leaves]))


FOREST = Pattern(
    "soft decision forest",
    SoftForest,
    (10,),
    {"loop-over-branches": "warning", "recurrence": "info"},
    real_shape=(64,),
    real_sizes={"trees": 32, "depth": 5, "classes": 10},
    right={"one product": (FusedForest, port_forest)},
    wrong={
        "sum for mean": (lambda: FusedForest(scale=1.0), port_forest),
        "left and right swapped": (lambda: FusedForest(mirrored=True), port_forest),
        "leaves reversed": (FusedForest, port_forest_leaves_reversed),
    },
)


@register
class MixtureOfExperts(keras.Layer):
    """Each token goes to its best expert, which takes no more than its capacity of a sample."""

    def __init__(self, experts=6, units=8, capacity=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.capacity = capacity
        self.count = experts
        self.router = keras.layers.Dense(experts)
        self.experts = [keras.layers.Dense(units, activation="relu") for _ in range(experts)]

    def get_config(self):
        config = {"experts": self.count, "units": self.units, "capacity": self.capacity}
        return {**super().get_config(), **config}

    def build(self, input_shape):
        self.router.build(input_shape)
        for expert in self.experts:
            expert.build(input_shape)

    def call(self, x):
        gates = tf.nn.softmax(self.router(x), axis=-1)
        best = tf.argmax(gates, axis=-1)
        output = 0.0
        for index, expert in enumerate(self.experts):
            chosen = tf.cast(tf.equal(best, index), x.dtype)
            taken = chosen * tf.cast(tf.cumsum(chosen, axis=1) <= self.capacity, x.dtype)
            output = output + expert(x) * (taken * gates[..., index])[..., None]
        return output


@register
class FusedExperts(keras.Layer):
    def __init__(self, experts=6, units=8, capacity=3, gated=True, **kwargs):
        super().__init__(**kwargs)
        self.experts = experts
        self.units = units
        self.capacity = capacity
        self.gated = gated
        self.router = keras.layers.Dense(experts)

    def build(self, input_shape):
        self.router.build(input_shape)
        together = self.experts * self.units
        self.kernel = self.add_weight(shape=(input_shape[-1], together), name="kernel")
        self.bias = self.add_weight(shape=(together,), name="bias")

    def call(self, x):
        gates = ops.softmax(self.router(x), axis=-1)
        # argmax of keras.ops needs BitwiseAnd, which TFLite lacks
        best = tf.argmax(gates, axis=-1)[..., None]
        chosen = ops.cast(ops.equal(best, ops.arange(self.experts, dtype=best.dtype)), x.dtype)
        if self.capacity:
            chosen = chosen * ops.cast(ops.cumsum(chosen, axis=1) <= self.capacity, x.dtype)
        weights = chosen * gates if self.gated else chosen
        every = ops.relu(ops.matmul(x, self.kernel) + self.bias)
        every = ops.reshape(every, (-1, x.shape[1], self.experts, self.units))
        return ops.sum(every * weights[..., None], axis=2)


def port_experts(slow, fast):
    fast.router.kernel.assign(slow.router.kernel)
    fast.router.bias.assign(slow.router.bias)
    fast.kernel.assign(np.concatenate([np.asarray(e.kernel) for e in slow.experts], axis=-1))
    fast.bias.assign(np.concatenate([np.asarray(e.bias) for e in slow.experts]))


EXPERTS = Pattern(
    "mixture of experts",
    MixtureOfExperts,
    (16, 6),
    {"loop-over-branches": "warning"},
    real_shape=(32, 64),
    real_sizes={"experts": 8, "units": 64, "capacity": 8},
    right={"one product": (FusedExperts, port_experts)},
    wrong={
        "capacity dropped": (lambda: FusedExperts(capacity=None), port_experts),
        "gate dropped": (lambda: FusedExperts(gated=False), port_experts),
    },
)

PATTERNS = [CAPSULES, FOREST, EXPERTS]
