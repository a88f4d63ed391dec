"""Layers that repeat something, after public code, and how somebody would rewrite them by hand.

They were written to try `rewrite` on, which had not seen them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Port, values


@dataclass(frozen=True)
class Repeated:
    """A layer with a loop.

    Args:
        name: what it is, and after whom.
        slow: makes the layer; small by default.
        input_shape: shape of one sample, or a list of shapes.
        make, port: the rewrite by hand.
        real_shape: shape of one sample at a size that is used.
        real_sizes: arguments of ``slow`` and ``make`` at that size.
    """

    name: str
    slow: Callable[..., keras.Layer]
    input_shape: Any
    make: Callable[..., keras.Layer]
    port: Port | None
    real_shape: Any
    real_sizes: dict[str, int] = field(default_factory=dict)


class SoftExperts(keras.Layer):
    """A weighted mean of experts with two layers each (Jacobs et al., 1991)."""

    def __init__(self, experts=5, hidden=6, units=4):
        super().__init__()
        self.gate = keras.layers.Dense(experts, activation="softmax")
        self.experts = [
            [keras.layers.Dense(hidden, activation="relu"), keras.layers.Dense(units)]
            for _ in range(experts)
        ]

    def build(self, shape):
        self.gate.build(shape)
        for first, second in self.experts:
            first.build(shape)
            second.build((*shape[:-1], first.units))

    def call(self, x):
        gates = self.gate(x)
        outputs = [second(first(x)) for first, second in self.experts]
        return sum(gates[:, i : i + 1] * each for i, each in enumerate(outputs))


class ExpertsAtOnce(keras.Layer):
    def __init__(self, experts=5, hidden=6, units=4):
        super().__init__()
        self.sizes = experts, hidden, units
        self.gate = keras.layers.Dense(experts, activation="softmax")

    def build(self, shape):
        experts, hidden, units = self.sizes
        self.gate.build(shape)
        self.first = self.add_weight(name="first", shape=(shape[-1], experts * hidden))
        self.first_bias = self.add_weight(name="first_bias", shape=(experts * hidden,))
        self.second = self.add_weight(name="second", shape=(experts, hidden, units))
        self.second_bias = self.add_weight(name="second_bias", shape=(experts, units))

    def call(self, x):
        experts, hidden, _ = self.sizes
        inner = ops.relu(ops.matmul(x, self.first) + self.first_bias)
        inner = ops.reshape(inner, (-1, experts, hidden))
        outputs = ops.einsum("beh,ehu->beu", inner, self.second) + self.second_bias
        return ops.einsum("be,beu->bu", self.gate(x), outputs)


def port_experts(slow, fast):
    fast.gate.set_weights(slow.gate.get_weights())
    firsts, seconds = zip(*slow.experts, strict=True)
    fast.first.assign(np.concatenate(values([d.kernel for d in firsts]), axis=-1))
    fast.first_bias.assign(np.concatenate(values([d.bias for d in firsts])))
    fast.second.assign(np.stack(values([d.kernel for d in seconds])))
    fast.second_bias.assign(np.stack(values([d.bias for d in seconds])))


class RelativeAttention(keras.Layer):
    """Attention with a learned bias for each distance (Raffel et al., 2020), head by head."""

    def __init__(self, heads=3, size=4):
        super().__init__()
        self.heads, self.size = heads, size

    def build(self, shape):
        steps, width = shape[1:]
        names = ("query", "key", "value")
        for name in names:
            kernels = [
                self.add_weight(name=f"{name}_{h}", shape=(width, self.size))
                for h in range(self.heads)
            ]
            setattr(self, name, kernels)
        self.distance = self.add_weight(name="distance", shape=(self.heads, 2 * steps - 1))
        place = np.arange(steps)
        self.place = place[None] - place[:, None] + steps - 1

    def call(self, x):
        heads = []
        for h in range(self.heads):
            query, key, value = (x @ kernel[h] for kernel in (self.query, self.key, self.value))
            scores = tf.matmul(query, key, transpose_b=True) / self.size**0.5
            scores += tf.gather(self.distance[h], self.place)
            heads.append(tf.nn.softmax(scores) @ value)
        return tf.concat(heads, axis=-1)


class RelativeAtOnce(keras.Layer):
    def __init__(self, heads=3, size=4):
        super().__init__()
        self.heads, self.size = heads, size

    def build(self, shape):
        steps, width = shape[1:]
        for name in ("query", "key", "value"):
            kernel = self.add_weight(name=name, shape=(width, self.heads * self.size))
            setattr(self, name, kernel)
        self.distance = self.add_weight(name="distance", shape=(self.heads, 2 * steps - 1))
        place = np.arange(steps)
        self.place = place[None] - place[:, None] + steps - 1

    def call(self, x):
        parts = (ops.matmul(x, kernel) for kernel in (self.query, self.key, self.value))
        shape = (-1, x.shape[1], self.heads, self.size)
        query, key, value = (ops.transpose(ops.reshape(p, shape), (0, 2, 1, 3)) for p in parts)
        scores = ops.matmul(query, ops.swapaxes(key, 2, 3)) / self.size**0.5
        scores += ops.take(self.distance, self.place, axis=1)
        out = ops.transpose(ops.matmul(ops.softmax(scores), value), (0, 2, 1, 3))
        return ops.reshape(out, (-1, x.shape[1], self.heads * self.size))


def port_relative(slow, fast):
    for name in ("query", "key", "value"):
        getattr(fast, name).assign(np.concatenate(values(getattr(slow, name)), axis=-1))
    fast.distance.assign(slow.distance)


class BandFilters(keras.Layer):
    """A Dense with an activation for each band of a spectrum."""

    def __init__(self, bands=4, units=3):
        super().__init__()
        self.bands = bands
        self.filters = [keras.layers.Dense(units, activation="tanh") for _ in range(bands)]

    def build(self, shape):
        for each in self.filters:
            each.build((*shape[:-1], shape[-1] // self.bands))

    def call(self, x):
        bands = tf.split(x, self.bands, axis=-1)
        filtered = [each(band) for each, band in zip(self.filters, bands, strict=True)]
        return tf.concat(filtered, axis=-1)


class BandsAtOnce(keras.Layer):
    def __init__(self, bands=4, units=3):
        super().__init__()
        self.bands, self.units = bands, units

    def build(self, shape):
        width = shape[-1] // self.bands
        self.kernel = self.add_weight(name="kernel", shape=(self.bands, width, self.units))
        self.bias = self.add_weight(name="bias", shape=(self.bands * self.units,))

    def call(self, x):
        parts = ops.reshape(x, (-1, x.shape[1], self.bands, x.shape[2] // self.bands))
        out = ops.einsum("btkw,kwu->btku", parts, self.kernel)
        out = ops.reshape(out, (-1, x.shape[1], self.bands * self.units))
        return ops.tanh(out + self.bias)


def port_bands(slow, fast):
    fast.kernel.assign(np.stack(values([each.kernel for each in slow.filters])))
    fast.bias.assign(np.concatenate(values([each.bias for each in slow.filters])))


class ChannelExcitation(keras.Layer):
    """Squeeze and excitation, channel by channel."""

    def build(self, shape):
        channels = shape[-1]
        self.weight = self.add_weight(name="weight", shape=(channels, channels))
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")

    def call(self, x):
        means = tf.reduce_mean(x, axis=(1, 2))
        scaled = []
        for c in range(x.shape[-1]):
            gate = tf.sigmoid(tf.reduce_sum(means * self.weight[c], axis=-1) + self.bias[c])
            scaled.append(x[..., c] * gate[:, None, None])
        return tf.stack(scaled, axis=-1)


class ExcitationAtOnce(ChannelExcitation):
    def call(self, x):
        means = ops.mean(x, axis=(1, 2))
        gates = ops.sigmoid(ops.matmul(means, ops.transpose(self.weight)) + self.bias)
        return x * gates[:, None, None]


class Polynomial(keras.Layer):
    """A graph convolution over powers of a fixed adjacency (Defferrard et al., 2016)."""

    def __init__(self, nodes=6, units=4, relations=3):
        super().__init__()
        self.units = units
        random = np.random.default_rng(0)
        self.adjacency = [
            (random.random((nodes, nodes)) < 0.4).astype("float32") for _ in range(relations)
        ]

    def build(self, shape):
        self.kernels = [
            self.add_weight(name=f"kernel_{r}", shape=(shape[-1], self.units))
            for r in range(len(self.adjacency))
        ]

    def call(self, x):
        messages = [
            tf.einsum("nm,bmf->bnf", adjacency, x) @ kernel
            for adjacency, kernel in zip(self.adjacency, self.kernels, strict=True)
        ]
        return tf.nn.relu(tf.add_n(messages))


class PolynomialAtOnce(keras.Layer):
    def __init__(self, nodes=6, units=4, relations=3):
        super().__init__()
        self.units = units
        self.adjacency = np.concatenate(Polynomial(nodes, units, relations).adjacency, axis=0)
        self.nodes, self.relations = nodes, relations

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(self.relations * shape[-1], self.units))

    def call(self, x):
        spread = ops.einsum("nm,bmf->bnf", self.adjacency, x)
        spread = ops.reshape(spread, (-1, self.relations, self.nodes, x.shape[-1]))
        spread = ops.reshape(
            ops.transpose(spread, (0, 2, 1, 3)), (-1, self.nodes, self.relations * x.shape[-1])
        )
        return ops.relu(ops.matmul(spread, self.kernel))


def port_polynomial(slow, fast):
    fast.kernel.assign(np.concatenate(values(slow.kernels)))


class MixtureDensity(keras.Layer):
    """The log-likelihood parts of a mixture of normal densities (Bishop, 1994)."""

    def __init__(self, components=5):
        super().__init__()
        self.components = components

    def build(self, shape):
        shapes = (shape[-1],)
        self.means, self.scales = (
            [self.add_weight(name=f"{n}_{i}", shape=shapes) for i in range(self.components)]
            for n in ("mean", "scale")
        )

    def call(self, x):
        densities = []
        for mean, scale in zip(self.means, self.scales, strict=True):
            distance = tf.square((x - mean) * tf.exp(-scale))
            densities.append(-0.5 * tf.reduce_sum(distance, axis=-1) - tf.reduce_sum(scale))
        return tf.nn.softmax(tf.stack(densities, axis=-1))


class DensityAtOnce(keras.Layer):
    def __init__(self, components=5):
        super().__init__()
        self.components = components

    def build(self, shape):
        shape = (self.components, shape[-1])
        self.mean = self.add_weight(name="mean", shape=shape)
        self.scale = self.add_weight(name="scale", shape=shape)

    def call(self, x):
        distance = ops.square((x[..., None, :] - self.mean) * ops.exp(-self.scale))
        density = -0.5 * ops.sum(distance, axis=-1) - ops.sum(self.scale, axis=-1)
        return ops.softmax(density)


def port_density(slow, fast):
    fast.mean.assign(np.stack(values(slow.means)))
    fast.scale.assign(np.stack(values(slow.scales)))


class GroupNorm(keras.Layer):
    """Group normalization (Wu and He, 2018), group by group."""

    def __init__(self, groups=4):
        super().__init__()
        self.groups = groups

    def build(self, shape):
        self.gamma = self.add_weight(name="gamma", shape=(shape[-1],), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        parts = []
        for part in tf.split(x, self.groups, axis=-1):
            mean = tf.reduce_mean(part, axis=(1, 2, 3), keepdims=True)
            variance = tf.reduce_mean(tf.square(part - mean), axis=(1, 2, 3), keepdims=True)
            parts.append((part - mean) * tf.math.rsqrt(variance + 1e-5))
        return tf.concat(parts, axis=-1) * self.gamma + self.beta


class GroupNormAtOnce(GroupNorm):
    def call(self, x):
        _, rows, columns, channels = x.shape
        parts = ops.reshape(x, (-1, rows, columns, self.groups, channels // self.groups))
        mean = ops.mean(parts, axis=(1, 2, 4), keepdims=True)
        variance = ops.mean(ops.square(parts - mean), axis=(1, 2, 4), keepdims=True)
        parts = (parts - mean) * ops.rsqrt(variance + 1e-5)
        return ops.reshape(parts, (-1, rows, columns, channels)) * self.gamma + self.beta


class HandWrittenGRU(keras.Layer):
    """A gated recurrent unit (Cho et al., 2014) in a loop, a product for each gate."""

    def __init__(self, units=5):
        super().__init__()
        self.units = units

    def build(self, shape):
        def weights(name, rows):
            return [
                self.add_weight(name=f"{name}_{gate}", shape=(*rows, self.units))
                for gate in ("update", "reset", "candidate")
            ]

        self.kernels = weights("kernel", (shape[-1],))
        self.recurrents = weights("recurrent", (self.units,))
        self.biases = weights("bias", ())

    def call(self, x):
        state = tf.zeros((tf.shape(x)[0], self.units))
        for t in range(x.shape[1]):
            z, r, h = (
                tf.matmul(x[:, t], kernel) + bias
                for kernel, bias in zip(self.kernels, self.biases, strict=True)
            )
            update = tf.sigmoid(z + tf.matmul(state, self.recurrents[0]))
            reset = tf.sigmoid(r + tf.matmul(state, self.recurrents[1]))
            candidate = tf.tanh(h + tf.matmul(reset * state, self.recurrents[2]))
            state = update * state + (1 - update) * candidate
        return state


def gru(units=5):
    return keras.layers.GRU(units, reset_after=False, unroll=True)


def port_gru(slow, fast):
    parts = (slow.kernels, slow.recurrents, slow.biases)
    fast.set_weights([np.concatenate(values(part), axis=-1) for part in parts])


class DilatedBranches(keras.Layer):
    """Convolutions of several widths of the same shape on one input, then a sum of gates."""

    def __init__(self, branches=4, filters=3):
        super().__init__()
        self.branches = [
            keras.layers.Conv1D(filters, 3, padding="same", activation="tanh")
            for _ in range(branches)
        ]

    def build(self, shape):
        for each in self.branches:
            each.build(shape)

    def call(self, x):
        total = self.branches[0](x)
        for each in self.branches[1:]:
            total = total + each(x)
        return total


class BranchesAtOnce(keras.Layer):
    def __init__(self, branches=4, filters=3):
        super().__init__()
        self.shape = branches, filters
        self.wide = keras.layers.Conv1D(branches * filters, 3, padding="same", activation="tanh")

    def build(self, shape):
        self.wide.build(shape)

    def call(self, x):
        return ops.sum(ops.reshape(self.wide(x), (-1, x.shape[1], *self.shape)), axis=2)


def port_branches(slow, fast):
    kernels, biases = zip(*(each.get_weights() for each in slow.branches), strict=True)
    fast.wide.set_weights([np.concatenate(kernels, axis=-1), np.concatenate(biases)])


class PairwiseProducts(keras.Layer):
    """A factorization machine's products of all pairs of fields (Rendle, 2010)."""

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1],))

    def call(self, x):
        fields, products = x.shape[1], []
        for a in range(fields):
            for b in range(a + 1, fields):
                products.append(tf.reduce_sum(x[:, a] * x[:, b] * self.kernel, axis=-1))
        return tf.stack(products, axis=1)


class PairsAtOnce(PairwiseProducts):
    def call(self, x):
        left, right = np.triu_indices(x.shape[1], k=1)
        pairs = ops.take(x, left, axis=1) * ops.take(x, right, axis=1)
        return ops.einsum("bpf,f->bp", pairs, self.kernel)


class PatchEmbedding(keras.Layer):
    """A product for each patch of a picture (Dosovitskiy et al., 2021)."""

    def __init__(self, size=4, units=6):
        super().__init__()
        self.size = size
        self.dense = keras.layers.Dense(units)

    def build(self, shape):
        self.dense.build((None, self.size**2 * shape[-1]))

    def call(self, x):
        patches = []
        for i in range(0, x.shape[1], self.size):
            for j in range(0, x.shape[2], self.size):
                patch = x[:, i : i + self.size, j : j + self.size]
                patches.append(self.dense(tf.reshape(patch, (-1, self.size**2 * x.shape[-1]))))
        return tf.stack(patches, axis=1)


class PatchesAtOnce(keras.Layer):
    def __init__(self, size=4, units=6):
        super().__init__()
        self.convolution = keras.layers.Conv2D(units, size, size)

    def build(self, shape):
        self.convolution.build(shape)

    def call(self, x):
        out = self.convolution(x)
        return ops.reshape(out, (-1, out.shape[1] * out.shape[2], out.shape[3]))


def port_patches(slow, fast):
    kernel = slow.dense.kernel.numpy()
    fast.convolution.kernel.assign(kernel.reshape(fast.convolution.kernel.shape))
    fast.convolution.bias.assign(slow.dense.bias)


class CrossGates(keras.Layer):
    """Two inputs, a gate for each head of one from the other."""

    def __init__(self, heads=4):
        super().__init__()
        self.heads = heads

    def build(self, shapes):
        size = shapes[0][-1] // self.heads
        self.gates = [
            self.add_weight(name=f"gate_{i}", shape=(shapes[1][-1], size))
            for i in range(self.heads)
        ]

    def call(self, inputs):
        x, context = inputs
        parts = tf.split(x, self.heads, axis=-1)
        gated = [
            part * tf.sigmoid(context @ gate)[:, None]
            for part, gate in zip(parts, self.gates, strict=True)
        ]
        return tf.concat(gated, axis=-1)


class CrossGatesAtOnce(keras.Layer):
    def __init__(self, heads=4):
        super().__init__()

    def build(self, shapes):
        self.gate = self.add_weight(name="gate", shape=(shapes[1][-1], shapes[0][-1]))

    def call(self, inputs):
        x, context = inputs
        return x * ops.sigmoid(ops.matmul(context, self.gate))[:, None]


def port_cross(slow, fast):
    fast.gate.assign(np.concatenate(values(slow.gates), axis=-1))


REPEATED = [
    Repeated("soft experts", SoftExperts, (7,), ExpertsAtOnce, port_experts,
             (64,), {"experts": 8, "hidden": 32, "units": 16}),
    Repeated("relative attention", RelativeAttention, (6, 8), RelativeAtOnce, port_relative,
             (32, 64), {"heads": 8, "size": 8}),
    Repeated("filters by band", BandFilters, (5, 8), BandsAtOnce, port_bands,
             (50, 128), {"bands": 16, "units": 8}),
    Repeated("excitation by channel", ChannelExcitation, (4, 4, 6), ExcitationAtOnce, None,
             (16, 16, 32)),
    Repeated("graph relations", Polynomial, (6, 5), PolynomialAtOnce, port_polynomial,
             (32, 16), {"nodes": 32, "units": 16, "relations": 8}),
    Repeated("mixture density", MixtureDensity, (6,), DensityAtOnce, port_density,
             (32,), {"components": 20}),
    Repeated("group normalization", GroupNorm, (4, 4, 8), GroupNormAtOnce, None,
             (16, 16, 64), {"groups": 16}),
    Repeated("hand-written GRU", HandWrittenGRU, (8, 4), gru, port_gru,
             (24, 16), {"units": 32}),
    Repeated("branches", DilatedBranches, (12, 5), BranchesAtOnce, port_branches,
             (64, 16), {"branches": 8, "filters": 8}),
    Repeated("products of pairs", PairwiseProducts, (5, 4), PairsAtOnce, None, (16, 16)),
    Repeated("patches", PatchEmbedding, (8, 8, 2), PatchesAtOnce, port_patches,
             (32, 32, 3), {"size": 4, "units": 32}),
    Repeated("gates across inputs", CrossGates, [(5, 8), (6,)], CrossGatesAtOnce, port_cross,
             [(32, 64), (32,)], {"heads": 8}),
]  # fmt: skip
