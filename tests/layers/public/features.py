"""Layers from public code for features, graphs and capsules."""

import itertools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.public.public import Public, numbers, register


@register
class GraphAttention(keras.Layer):
    """Attention head by head; the nodes of one graph are the batch."""

    def __init__(self, F_, attn_heads=5, dropout_rate=0.5, **kwargs):
        super().__init__(**kwargs)
        self.F_ = F_
        self.attn_heads = attn_heads
        self.dropout_rate = dropout_rate
        self.kernels = []
        self.biases = []
        self.attn_kernels = []

    def build(self, input_shape):
        features = input_shape[0][-1]
        for head in range(self.attn_heads):
            self.kernels.append(self.add_weight(shape=(features, self.F_), name=f"kernel_{head}"))
            self.biases.append(
                self.add_weight(shape=(self.F_,), initializer="zeros", name=f"bias_{head}")
            )
            own = self.add_weight(shape=(self.F_, 1), name=f"attn_kernel_self_{head}")
            others = self.add_weight(shape=(self.F_, 1), name=f"attn_kernel_neigh_{head}")
            self.attn_kernels.append([own, others])
        self.built = True

    def call(self, inputs):
        X, A = inputs
        outputs = []
        for head in range(self.attn_heads):
            kernel = self.kernels[head]
            attention_kernel = self.attn_kernels[head]
            features = ops.matmul(X, kernel)
            own = ops.matmul(features, attention_kernel[0])
            others = ops.matmul(features, attention_kernel[1])
            dense = own + ops.transpose(others)
            dense = keras.layers.LeakyReLU(0.2)(dense)
            dense = ops.softmax(dense - 10e9 * (1.0 - A))
            dropped = keras.layers.Dropout(self.dropout_rate)(dense)
            node_features = ops.matmul(dropped, features) + self.biases[head]
            outputs.append(node_features)
        return ops.relu(ops.concatenate(outputs, axis=-1))


@register
class CapsuleLayer(keras.Layer):
    """Capsules with a map over the samples and three rounds of routing."""

    def __init__(self, num_capsule, dim_capsule, routings=3, kernel_initializer="he_normal", **kw):
        super().__init__(**kw)
        self.num_capsule = num_capsule
        self.dim_capsule = dim_capsule
        self.routings = routings
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        shape = (self.num_capsule, input_shape[1], self.dim_capsule, input_shape[2])
        self.W = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="W")

    def call(self, inputs, training=None):
        tiled = ops.tile(ops.expand_dims(inputs, 1), (1, self.num_capsule, 1, 1))
        hat = tf.map_fn(lambda x: tf.einsum("nif,nidf->nid", x, self.W), elems=tiled)
        b = tf.zeros((tf.shape(hat)[0], self.num_capsule, hat.shape[2]))
        for i in range(self.routings):
            c = tf.nn.softmax(b, axis=1)
            outputs = squash(tf.einsum("bni,bnid->bnd", c, hat))
            if i < self.routings - 1:
                b += tf.einsum("bnd,bnid->bni", outputs, hat)
        return outputs

    def get_config(self):
        config = {
            "num_capsule": self.num_capsule,
            "dim_capsule": self.dim_capsule,
            "routings": self.routings,
        }
        return {**super().get_config(), **config}


def squash(vectors):
    norm = ops.sum(ops.square(vectors), -1, keepdims=True)
    return norm / (1 + norm) / ops.sqrt(norm + 1e-7) * vectors


@register
class AFMLayer(keras.Layer):
    """Attention over the products of all pairs of fields, with a Lambda for the last product."""

    def __init__(self, attention_factor=4, **kwargs):
        super().__init__(**kwargs)
        self.attention_factor = attention_factor

    def build(self, input_shape):
        size = input_shape[0][-1]
        self.attention_W = self.add_weight(shape=(size, self.attention_factor), name="W")
        self.attention_b = self.add_weight(shape=(self.attention_factor,), name="b")
        self.projection_h = self.add_weight(shape=(self.attention_factor, 1), name="h")
        self.projection_p = self.add_weight(shape=(size, 1), name="p")
        self.tensordot = keras.layers.Lambda(lambda x: tf.tensordot(x[0], x[1], axes=(-1, 0)))

    def call(self, inputs, training=None):
        row, column = [], []
        for r, c in itertools.combinations(inputs, 2):
            row.append(r)
            column.append(c)
        product = tf.concat(row, axis=1) * tf.concat(column, axis=1)
        hidden = tf.nn.relu(
            tf.tensordot(product, self.attention_W, axes=(-1, 0)) + self.attention_b
        )
        self.normalized_att_score = tf.nn.softmax(
            tf.tensordot(hidden, self.projection_h, axes=(-1, 0)), axis=1
        )
        output = tf.reduce_sum(self.normalized_att_score * product, axis=1)
        return self.tensordot([output, self.projection_p])


@register
class CIN(keras.Layer):
    """A compressed interaction network: layers in a row, each crossed with the first."""

    def __init__(self, layer_size=(4, 4, 4, 4, 4), **kwargs):
        super().__init__(**kwargs)
        self.layer_size = layer_size

    def build(self, input_shape):
        self.field_nums = [int(input_shape[1])]
        self.filters = []
        self.bias = []
        for i, size in enumerate(self.layer_size):
            shape = (1, self.field_nums[-1] * self.field_nums[0], size)
            self.filters.append(self.add_weight(shape=shape, name=f"filter{i}"))
            self.bias.append(self.add_weight(shape=(size,), name=f"bias{i}"))
            self.field_nums.append(size)

    def call(self, inputs):
        dim = int(inputs.shape[-1])
        hidden = [inputs]
        results = []
        first = tf.split(hidden[0], dim * [1], 2)
        for index in range(len(self.layer_size)):
            parts = tf.split(hidden[-1], dim * [1], 2)
            crossed = tf.matmul(first, parts, transpose_b=True)
            size = self.field_nums[0] * self.field_nums[index]
            crossed = tf.transpose(tf.reshape(crossed, (dim, -1, size)), perm=[1, 0, 2])
            out = tf.nn.conv1d(crossed, filters=self.filters[index], stride=1, padding="VALID")
            out = tf.transpose(tf.nn.relu(tf.nn.bias_add(out, self.bias[index])), perm=[0, 2, 1])
            results.append(out)
            hidden.append(out)
        return tf.reduce_sum(tf.concat(results, axis=1), -1)


@register
class CrossNet(keras.Layer):
    """Cross layers in a row."""

    def __init__(self, layer_num=5, **kwargs):
        super().__init__(**kwargs)
        self.layer_num = layer_num

    def build(self, input_shape):
        shape = (input_shape[-1], 1)
        self.kernels = [self.add_weight(shape=shape, name=f"k{i}") for i in range(self.layer_num)]
        self.bias = [self.add_weight(shape=shape, name=f"b{i}") for i in range(self.layer_num)]

    def call(self, inputs):
        x_0 = tf.expand_dims(inputs, axis=2)
        x_l = x_0
        for i in range(self.layer_num):
            xl_w = tf.tensordot(x_l, self.kernels[i], axes=(1, 0))
            x_l = tf.matmul(x_0, xl_w) + self.bias[i] + x_l
        return tf.squeeze(x_l, axis=2)


@register
class MMoE(keras.Layer):
    """A gate for each task, then each task's sum over the experts."""

    def __init__(self, units=4, num_experts=5, num_tasks=5, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.num_experts = num_experts
        self.num_tasks = num_tasks

    def build(self, input_shape):
        size = input_shape[-1]
        self.expert_kernels = self.add_weight(
            shape=(size, self.units, self.num_experts), name="experts"
        )
        self.gate_kernels = [
            self.add_weight(shape=(size, self.num_experts), name=f"gate_{i}")
            for i in range(self.num_tasks)
        ]
        self.gate_bias = [
            self.add_weight(shape=(self.num_experts,), initializer="zeros", name=f"bias_{i}")
            for i in range(self.num_tasks)
        ]

    def call(self, inputs, **kwargs):
        gates, outputs = [], []
        experts = tf.nn.relu(tf.tensordot(inputs, self.expert_kernels, axes=1))
        for index, kernel in enumerate(self.gate_kernels):
            gate = ops.matmul(inputs, kernel) + self.gate_bias[index]
            gates.append(ops.softmax(gate))
        for gate in gates:
            expanded = ops.repeat(ops.expand_dims(gate, axis=1), self.units, axis=1)
            outputs.append(ops.sum(experts * expanded, axis=2))
        return outputs


@register
class RBFLayer(keras.Layer):
    """Radial basis functions; its config forgets half of what it was made with."""

    def __init__(self, output_dim, initializer=None, betas=0.01, **kwargs):
        super().__init__(**kwargs)
        self.output_dim = output_dim
        self.init_betas = betas
        self.initializer = initializer or keras.initializers.RandomUniform(0.0, 1.0)

    def build(self, input_shape):
        self.centers = self.add_weight(
            name="centers", shape=(self.output_dim, input_shape[1]), initializer=self.initializer
        )
        self.betas = self.add_weight(
            name="betas",
            shape=(self.output_dim,),
            initializer=keras.initializers.Constant(self.init_betas),
        )

    def call(self, x):
        H = ops.transpose(ops.expand_dims(self.centers, -1) - ops.transpose(x))
        return ops.exp(-self.betas * ops.sum(H**2, axis=1))

    def get_config(self):
        return {**super().get_config(), "output_dim": self.output_dim}


@register
class VectorQuantizer(keras.Layer):
    """A codebook in a tf.Variable, with a straight-through gradient."""

    def __init__(self, num_embeddings=8, embedding_dim=4, beta=0.25, **kwargs):
        super().__init__(**kwargs)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.beta = beta
        w_init = tf.random_uniform_initializer()
        self.embeddings = tf.Variable(
            initial_value=w_init(shape=(embedding_dim, num_embeddings), dtype="float32"),
            trainable=True,
        )

    def call(self, x):
        flat = tf.reshape(x, (-1, self.embedding_dim))
        distances = (
            tf.reduce_sum(flat**2, axis=1, keepdims=True)
            + tf.reduce_sum(self.embeddings**2, axis=0)
            - 2 * tf.matmul(flat, self.embeddings)
        )
        encodings = tf.one_hot(tf.argmin(distances, axis=1), self.num_embeddings)
        quantized = tf.matmul(encodings, self.embeddings, transpose_b=True)
        quantized = tf.reshape(quantized, tf.shape(x))
        self.add_loss(self.beta * tf.reduce_mean((tf.stop_gradient(quantized) - x) ** 2))
        return x + tf.stop_gradient(quantized - x)


@register
class MinibatchDiscrimination(keras.Layer):
    """How far each sample is from the others of its batch."""

    def __init__(self, num_kernels, kernel_dim):
        super().__init__()
        self.num_kernels = num_kernels
        self.kernel_dim = kernel_dim

    def build(self, input_shape):
        shape = (input_shape[-1], self.num_kernels * self.kernel_dim)
        self.kernel = self.add_weight(shape=shape, name="kernel")

    def call(self, x):
        activation = ops.reshape(x @ self.kernel, (-1, self.num_kernels, self.kernel_dim))
        apart = ops.expand_dims(activation, 3) - ops.expand_dims(
            ops.transpose(activation, (1, 2, 0)), 0
        )
        features = ops.sum(ops.exp(-ops.sum(ops.abs(apart), axis=2)), axis=2)
        return ops.concatenate([x, features], axis=1)


@register
class Sampling(keras.Layer):
    """A draw from a normal distribution, in training and in use."""

    def call(self, inputs):
        mean, log_variance = inputs
        epsilon = keras.random.normal(shape=ops.shape(mean))
        return mean + ops.exp(0.5 * log_variance) * epsilon


@register
class NeuralDecisionTree(keras.Layer):
    """A soft tree on a random part of the features, its leaves in a tf.Variable."""

    def __init__(self, depth=3, num_features=8, num_classes=3, **kwargs):
        super().__init__(**kwargs)
        self.depth = depth
        self.num_features = num_features
        self.num_classes = num_classes
        one_hot = np.eye(num_features, dtype="float32")
        chosen = np.random.choice(np.arange(num_features), num_features // 2, replace=False)
        self.used_features_mask = one_hot[chosen]
        self.pi = tf.Variable(tf.random.normal((2**depth, num_classes)), trainable=True)
        self.decision_fn = keras.layers.Dense(2**depth, activation="sigmoid")

    def call(self, features):
        batch_size = tf.shape(features)[0]
        features = tf.matmul(features, self.used_features_mask, transpose_b=True)
        decisions = tf.expand_dims(self.decision_fn(features), axis=2)
        decisions = tf.concat([decisions, 1 - decisions], axis=2)
        mu = tf.ones([batch_size, 1, 1])
        begin, end = 1, 2
        for level in range(self.depth):
            mu = tf.reshape(mu, [batch_size, -1, 1])
            mu = tf.tile(mu, (1, 1, 2)) * decisions[:, begin:end, :]
            begin, end = end, end + 2 ** (level + 1)
        mu = tf.reshape(mu, [batch_size, 2**self.depth])
        return tf.matmul(mu, tf.nn.softmax(self.pi))


@register
class KANLinear(keras.Layer):
    """Splines by the recursion of Cox and de Boor, on a grid that is a constant."""

    def __init__(self, units=3, grid_size=5, spline_order=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.grid_size = grid_size
        self.spline_order = spline_order

    def build(self, input_shape):
        order, step = self.spline_order, 2 / self.grid_size
        grid = np.arange(-order, self.grid_size + order + 1) * step - 1
        self.grid = tf.Variable(grid, dtype="float32", trainable=False)
        size = self.grid_size + order
        self.spline = self.add_weight(shape=(input_shape[-1] * size, self.units), name="spline")
        self.base = self.add_weight(shape=(input_shape[-1], self.units), name="base")

    def call(self, x):
        grid = self.grid
        x_ = tf.expand_dims(x, -1)
        bases = tf.cast((x_ >= grid[:-1]) & (x_ < grid[1:]), "float32")
        for k in range(1, self.spline_order + 1):
            left = (x_ - grid[: -(k + 1)]) / (grid[k:-1] - grid[: -(k + 1)])
            right = (grid[k + 1 :] - x_) / (grid[k + 1 :] - grid[1:-k])
            bases = left * bases[..., :-1] + right * bases[..., 1:]
        flat = tf.reshape(bases, (-1, bases.shape[1] * bases.shape[2]))
        return tf.matmul(tf.nn.silu(x), self.base) + tf.matmul(flat, self.spline)


def one_graph():
    adjacency = np.random.default_rng(0).integers(0, 2, (8, 8)) | np.eye(8, dtype=int)
    return [numbers(8, 5), adjacency.astype("float32")]


FEATURES = [
    Public(
        "danielegrattarola/keras-gat: GraphAttention",
        lambda: GraphAttention(3),
        [(5,), (8,)],
        {
            "batch-dependent": "error",
            "created-in-call": "error",
            "loop-over-branches": "warning",
        },
        samples=one_graph,
    ),
    Public(
        "XifengGuo/CapsNet-Keras: CapsuleLayer",
        lambda: CapsuleLayer(4, 3),
        (6, 5),
        {"dynamic-loop": "warning", "lost-argument": "warning", "recurrence": "info"},
    ),
    Public(
        "shenweichen/DeepCTR: AFMLayer",
        AFMLayer,
        [(1, 4), (1, 4), (1, 4), (1, 4)],
        {"state-in-call": "warning"},
    ),
    Public("shenweichen/DeepCTR: CIN", CIN, (5, 4), {}),
    Public("shenweichen/DeepCTR: CrossNet", CrossNet, (6,), {}),
    Public(
        "drawbridge/keras-mmoe: MMoE",
        MMoE,
        (6,),
        {"loop-over-branches": "warning", "python-loop": "warning"},
    ),
    Public(
        "PetraVidnerova/rbf_keras: RBFLayer",
        lambda: RBFLayer(4),
        (5,),
        {"lost-argument": "warning"},
    ),
    Public(
        "keras-team/keras-io: VectorQuantizer",
        VectorQuantizer,
        (6, 4),
        {"tf-variable": "error"},
    ),
    Public(
        "matteson/tensorflow-minibatch-discriminator",
        lambda: MinibatchDiscrimination(5, 3),
        (6,),
        {"batch-dependent": "error", "reload-fails": "error"},
    ),
    Public(
        "keras-team/keras-io: Sampling",
        Sampling,
        [(4,), (4,)],
        {"random-without-training": "error"},
    ),
    Public(
        "keras-team/keras-io: NeuralDecisionTree",
        NeuralDecisionTree,
        (8,),
        {"random-attribute": "error", "tf-variable": "error", "recurrence": "info"},
    ),
    Public("KAN layers of several repositories", KANLinear, (4,), {}),
]
