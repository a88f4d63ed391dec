"""Layers on graphs, with an adjacency matrix or a list of edges as an input."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Formula, Function

NODES, SIZE, EDGES = 5, 3, 7


def nodes(rng, count=8):
    return rng.normal(size=(count, NODES, SIZE)).astype("float32")


def adjacencies(rng, count=8):
    edges = rng.random((count, NODES, NODES)) < 0.4
    return np.maximum(edges, np.eye(NODES)).astype("float32")


class GraphConvolution(keras.Layer):
    """Node by node, the weighted mean of its neighbours (Kipf and Welling, 2017)."""

    def build(self, shapes):
        self.kernel = self.add_weight(name="kernel", shape=(SIZE, SIZE))
        self.bias = self.add_weight(name="bias", shape=(SIZE,), initializer="zeros")

    def call(self, inputs):
        x, adjacency = inputs
        linked = adjacency + tf.eye(NODES)
        degree = tf.reduce_sum(linked, axis=2)
        outputs = []
        for i in range(NODES):
            weights = linked[:, i] / tf.sqrt(degree[:, i : i + 1] * degree)
            outputs.append(tf.reduce_sum(weights[..., None] * (x @ self.kernel), axis=1))
        return tf.nn.relu(tf.stack(outputs, axis=1) + self.bias)


def convolved(weights):
    def function(layer, inputs):
        x, adjacency = inputs
        mixed = ops.matmul(weights(adjacency), ops.matmul(x, layer.kernel))
        return ops.relu(mixed + layer.bias)

    return lambda: Formula(function, kernel=(SIZE, SIZE), bias=(SIZE,)), None


def symmetric(adjacency, loops=1.0):
    linked = adjacency + loops * ops.eye(NODES)
    scale = 1 / ops.sqrt(ops.sum(linked, axis=2))
    return linked * scale[:, :, None] * scale[:, None]


def by_row(adjacency):
    linked = adjacency + ops.eye(NODES)
    return linked / ops.sum(linked, axis=2, keepdims=True)


GRAPH_CONVOLUTION = Function(
    "graph convolution",
    GraphConvolution,
    [(NODES, SIZE), (NODES, NODES)],
    lambda rng: [nodes(rng), adjacencies(rng)],
    right={
        "two products": convolved(symmetric),
        "square root of the product": convolved(
            lambda a: (
                (a + ops.eye(NODES))
                / ops.sqrt(
                    ops.sum(a + ops.eye(NODES), axis=2)[:, :, None]
                    * ops.sum(a + ops.eye(NODES), axis=2)[:, None]
                )
            )
        ),
    },
    wrong={
        "edges the other way round": convolved(lambda a: symmetric(ops.transpose(a, (0, 2, 1)))),
        "no loops": convolved(lambda a: symmetric(a, loops=0.0)),
        "normalised by rows": convolved(by_row),
        "not normalised": convolved(lambda a: a + ops.eye(NODES)),
        "adjacency ignored": convolved(lambda a: symmetric(0 * a)),
    },
)


class GraphAttention(keras.Layer):
    """Attention to neighbours only (Veličković et al., 2018)."""

    def build(self, shapes):
        self.kernel = self.add_weight(name="kernel", shape=(SIZE, SIZE))
        self.source = self.add_weight(name="source", shape=(SIZE, 1))
        self.target = self.add_weight(name="target", shape=(SIZE, 1))

    def call(self, inputs):
        x, adj = inputs
        h = x @ self.kernel
        outputs = []
        for i in range(NODES):
            scores = (h[:, i : i + 1] @ self.source + h @ self.target)[..., 0]
            scores = tf.nn.leaky_relu(scores, 0.2) + (1.0 - adj[:, i]) * -1e9
            outputs.append(tf.reduce_sum(tf.nn.softmax(scores)[..., None] * h, axis=1))
        return tf.stack(outputs, axis=1)


def attended(slope=0.2, axis=-1, swapped=False, linked=lambda adj: adj > 0, projected=True):
    def function(layer, inputs):
        x, adj = inputs
        h = ops.matmul(x, layer.kernel)
        source, target = ops.matmul(h, layer.source), ops.matmul(h, layer.target)
        if swapped:
            source, target = target, source
        scores = ops.leaky_relu(source + ops.transpose(target, (0, 2, 1)), slope)
        weights = ops.softmax(ops.where(linked(adj), scores, -1e9), axis=axis)
        return ops.matmul(weights, h if projected else x)

    shapes = {"kernel": (SIZE, SIZE), "source": (SIZE, 1), "target": (SIZE, 1)}
    return lambda: Formula(function, **shapes), None


GRAPH_ATTENTION = Function(
    "graph attention",
    GraphAttention,
    [(NODES, SIZE), (NODES, NODES)],
    lambda rng: [nodes(rng), adjacencies(rng)],
    right={
        "all nodes at once": attended(),
        "truth values": attended(linked=lambda adj: ops.cast(adj, "bool")),
        "half and more": attended(linked=lambda adj: adj >= 0.5),
    },
    wrong={
        "source and target swapped": attended(swapped=True),
        "another slope": attended(slope=0.3),
        "softmax over the sources": attended(axis=1),
        "edges the other way round": attended(linked=lambda adj: ops.transpose(adj, (0, 2, 1)) > 0),
        "every node a neighbour": attended(linked=lambda adj: adj > -1),
        "features not projected": attended(projected=False),
    },
)


class NeighbourMaximum(keras.Layer):
    """The largest of the neighbours' features, beside the node's own."""

    def build(self, shapes):
        self.kernel = self.add_weight(name="kernel", shape=(2 * SIZE, SIZE))

    def call(self, x, adjacency):
        found = []
        for i in range(NODES):
            near = tf.where(adjacency[:, i, :, None] > 0, x, -1e6)
            found.append(tf.reduce_max(near, axis=1))
        return tf.concat([x, tf.stack(found, axis=1)], axis=-1) @ self.kernel


def largest(near=lambda x, a: ops.where(a[..., None] > 0, x[:, None], -1e6), swapped=False):
    def function(layer, inputs):
        x, adjacency = inputs
        found = ops.max(near(x, adjacency), axis=2)
        pair = [found, x] if swapped else [x, found]
        return ops.matmul(ops.concatenate(pair, axis=-1), layer.kernel)

    return lambda: Formula(function, kernel=(2 * SIZE, SIZE)), None


NEIGHBOUR_MAXIMUM = Function(
    "maximum of the neighbours",
    NeighbourMaximum,
    [(NODES, SIZE), (NODES, NODES)],
    lambda rng: [nodes(rng), adjacencies(rng)],
    right={"all nodes at once": largest()},
    wrong={
        "no neighbour counts as zero": largest(lambda x, a: a[..., None] * x[:, None]),
        "maximum of all nodes": largest(lambda x, a: x[:, None] + 0 * a[..., None]),
        "own and neighbours' features swapped": largest(swapped=True),
    },
)


class EdgeList(keras.Layer):
    """Messages along a list of edges, from the first node of each to the second."""

    def build(self, shapes):
        self.kernel = self.add_weight(name="kernel", shape=(SIZE, SIZE))

    def call(self, inputs):
        x, edges = inputs["x"], inputs["edges"]
        received = tf.zeros_like(x)
        for e in range(edges.shape[1]):
            sender = tf.gather(x, edges[:, e, 0], batch_dims=1)
            place = tf.one_hot(edges[:, e, 1], NODES)
            received += place[..., None] * (sender @ self.kernel)[:, None]
        return x + received


def messages(sender=0, receiver=1, once=False, own=True):
    def function(layer, inputs):
        x, edges = inputs["x"], inputs["edges"]
        places = [ops.one_hot(edges[..., end], NODES) for end in (receiver, sender)]
        count = ops.einsum("bei,bej->bij", *places)
        if once:
            count = ops.minimum(count, 1.0)
        received = ops.matmul(count, ops.matmul(x, layer.kernel))
        return x + received if own else received

    return lambda: Formula(function, kernel=(SIZE, SIZE)), None


EDGE_LIST = Function(
    "messages along edges",
    EdgeList,
    {"x": (NODES, SIZE), "edges": (EDGES, 2)},
    lambda rng: {"x": nodes(rng), "edges": rng.integers(0, NODES, (8, EDGES, 2))},
    right={"counted edges": messages()},
    wrong={
        "edges the other way round": messages(sender=1, receiver=0),
        "double edges counted once": messages(once=True),
        "own features dropped": messages(own=False),
        "messages to oneself": messages(sender=1, receiver=1),
    },
)

FUNCTIONS = [GRAPH_CONVOLUTION, GRAPH_ATTENTION, NEIGHBOUR_MAXIMUM, EDGE_LIST]
