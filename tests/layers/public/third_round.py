"""Layers from public code, added once those of the second round were diagnosed correctly."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.public.public import Public, register


@register
class Capsule(keras.Layer):
    """Capsules with shared weights; overwrites its own build."""

    def __init__(self, num_capsule=4, dim_capsule=3, routings=3, initializer="ones", **kwargs):
        super().__init__(**kwargs)
        self.num_capsule = num_capsule
        self.dim_capsule = dim_capsule
        self.routings = routings
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape):
        shape = (1, input_shape[-1], self.num_capsule * self.dim_capsule)
        self.W = self.add_weight(name="capsule_kernel", shape=shape, initializer=self.initializer)
        self.build = True

    def call(self, u_vecs):
        hat = ops.conv(u_vecs, self.W)
        hat = ops.reshape(hat, (-1, u_vecs.shape[1], self.num_capsule, self.dim_capsule))
        hat = ops.transpose(hat, (0, 2, 1, 3))
        b = ops.zeros_like(hat[:, :, :, 0])
        for i in range(self.routings):
            c = ops.softmax(b, 1)
            o = ops.einsum("bni,bnid->bnd", c, hat)
            if i < self.routings - 1:
                b = ops.einsum("bnd,bnid->bni", ops.normalize(o, axis=-1), hat)
        return o

    def get_config(self):
        config = {
            "num_capsule": self.num_capsule,
            "dim_capsule": self.dim_capsule,
            "routings": self.routings,
        }
        return {**super().get_config(), **config}


class AdaptivePooling1D(keras.Layer):
    def __init__(self, reduce_function, output_size, **kwargs):
        self.reduce_function = reduce_function
        self.output_size = output_size
        super().__init__(**kwargs)

    def call(self, inputs, *args):
        width = tf.cast(tf.shape(inputs)[1] / self.output_size, tf.float32)
        starts = tf.cast(tf.range(self.output_size, dtype=tf.float32) * width, tf.int32)
        ends = (tf.range(self.output_size, dtype=tf.float32) + 1) * width
        ends = tf.cast(tf.math.ceil(ends), tf.int32)
        pooled = []
        for idx in range(self.output_size):
            part = inputs[:, starts[idx] : ends[idx], :]
            pooled.append(self.reduce_function(part, axis=1, keepdims=True))
        return tf.concat(pooled, axis=1)

    def get_config(self):
        return {**super().get_config(), "output_size": self.output_size}


@register
class AdaptiveAveragePooling1D(AdaptivePooling1D):
    """Means of as many windows as asked for."""

    def __init__(self, output_size, **kwargs):
        super().__init__(tf.reduce_mean, output_size, **kwargs)


@register
class ARMAConv(keras.Layer):
    """Parallel stacks of graph convolutions, with a Dropout made in each."""

    def __init__(self, channels=4, order=5, iterations=2, dropout_rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.order = order
        self.iterations = iterations
        self.dropout_rate = dropout_rate

    def build(self, input_shape):
        features = input_shape[0][-1]
        self.kernels = []
        for k in range(self.order):
            stack, size = [], features
            for i in range(self.iterations):
                own = self.add_weight(shape=(size, self.channels), name=f"ARMA_{k}{i}_1")
                skip = self.add_weight(shape=(features, self.channels), name=f"ARMA_{k}{i}_2")
                stack.append((own, skip))
                size = self.channels
            self.kernels.append(stack)
        self.built = True

    def call(self, inputs):
        x, a = inputs
        output = []
        for k in range(self.order):
            output_k = x
            for i in range(self.iterations):
                output_k = self.gcs([output_k, x, a], k, i)
            output.append(output_k)
        return ops.mean(ops.stack(output, axis=-1), axis=-1)

    def gcs(self, inputs, stack, iteration):
        x, x_skip, a = inputs
        kernel, skip_kernel = self.kernels[stack][iteration]
        output = ops.matmul(a, ops.matmul(x, kernel))
        skip = keras.layers.Dropout(self.dropout_rate)(ops.matmul(x_skip, skip_kernel))
        return ops.relu(output + skip)


@register
class NoisyDense(keras.Layer):
    """A Dense with noise in its kernel, drawn when it is built and when it is told to."""

    def __init__(self, units=4, sigma0=0.5, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.sigma0 = sigma0

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        sigma = keras.initializers.Constant(self.sigma0 / np.sqrt(shape[0]))
        self.kernel_mu = self.add_weight(shape=shape, name="kernel_mu")
        self.kernel_sigma = self.add_weight(shape=shape, initializer=sigma, name="kernel_sigma")
        self.kernel_epsilon = self.add_weight(
            shape=shape, initializer="zeros", trainable=False, name="kernel_epsilon"
        )
        self.reset_noise()

    def call(self, inputs):
        self.kernel = tf.add(self.kernel_mu, self.kernel_sigma * self.kernel_epsilon)
        return tf.matmul(inputs, self.kernel)

    def reset_noise(self):
        noise = keras.random.normal(self.kernel_epsilon.shape)
        self.kernel_epsilon.assign(ops.sign(noise) * ops.sqrt(ops.abs(noise)))


@register
class NALU(keras.Layer):
    """Sums and products, gated."""

    def __init__(self, units=3, epsilon=1e-7, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.W_hat = self.add_weight(shape=shape, name="W_hat")
        self.M_hat = self.add_weight(shape=shape, name="M_hat")
        self.G = self.add_weight(shape=shape, name="G")

    def call(self, inputs, **kwargs):
        W = ops.tanh(self.W_hat) * ops.sigmoid(self.M_hat)
        a = ops.matmul(inputs, W)
        m = ops.exp(ops.matmul(ops.log(ops.abs(inputs) + self.epsilon), W))
        g = ops.sigmoid(ops.matmul(inputs, self.G))
        return g * a + (1.0 - g) * m


@register
class StochasticDepth(keras.Layer):
    """A residual that is dropped in training only."""

    def __init__(self, survival_probability=0.5, **kwargs):
        super().__init__(**kwargs)
        self.survival_probability = survival_probability

    def call(self, x, training=None):
        shortcut, residual = x
        if training:
            shape = (tf.shape(shortcut)[0],) + (1,) * (shortcut.shape.rank - 1)
            draw = tf.random.uniform(shape)
            return shortcut + tf.floor(self.survival_probability + draw) * residual
        return shortcut + self.survival_probability * residual


@register
class GRUD(keras.Layer):
    """A GRU whose inputs decay to their mean while they are missing."""

    def __init__(self, units=5, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        features = input_shape[0][-1]
        self.decay = self.add_weight(shape=(features,), initializer="ones", name="decay")
        self.mean = self.add_weight(shape=(features,), initializer="zeros", name="mean")
        self.cell = keras.layers.GRUCell(self.units)
        self.cell.build((None, features))

    def call(self, inputs, training=None):
        values, mask = inputs
        state = tf.zeros((tf.shape(values)[0], self.units))
        last, age = values[:, 0], tf.zeros_like(values[:, 0])
        for t in range(values.shape[1]):
            seen = mask[:, t]
            last = seen * values[:, t] + (1 - seen) * last
            age = (1 - seen) * (age + 1)
            rate = tf.exp(-tf.nn.relu(self.decay) * age)
            x = seen * last + (1 - seen) * (rate * last + (1 - rate) * self.mean)
            state, _ = self.cell(x, [state])
        return state


@register
class MultiScaleConv(keras.Layer):
    """Convolutions of several widths side by side."""

    def __init__(self, filters=2, widths=(1, 3, 5, 7, 9), **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.widths = widths
        self.convs = [keras.layers.Conv1D(filters, w, padding="same") for w in widths]

    def build(self, input_shape):
        for conv in self.convs:
            conv.build(input_shape)

    def call(self, x):
        return ops.concatenate([conv(x) for conv in self.convs], axis=-1)


@register
class CategoricalEmbeddings(keras.Layer):
    """A table for each column of whole numbers."""

    def __init__(self, sizes=(5, 5, 5, 5, 5, 5), dim=3, **kwargs):
        super().__init__(**kwargs)
        self.sizes = sizes
        self.dim = dim
        self.tables = [keras.layers.Embedding(size, dim) for size in sizes]

    def call(self, x):
        columns = []
        for i, table in enumerate(self.tables):
            columns.append(table(x[:, i]))
        return ops.stack(columns, axis=1)


@register
class GroupNormalization(keras.Layer):
    """Normalization of groups of channels, by a reshape."""

    def __init__(self, groups=2, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.epsilon = epsilon

    def build(self, input_shape):
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta")

    def call(self, inputs, **kwargs):
        shape = list(inputs.shape[1:])
        grouped = ops.reshape(inputs, (-1, *shape[:-1], self.groups, shape[-1] // self.groups))
        axes = (1, 2, 4)
        mean = ops.mean(grouped, axis=axes, keepdims=True)
        variance = ops.var(grouped, axis=axes, keepdims=True)
        normal = (grouped - mean) / ops.sqrt(variance + self.epsilon)
        return ops.reshape(normal, (-1, *shape)) * self.gamma + self.beta


def categories():
    return np.random.default_rng(0).integers(0, 5, (16, 6))


THIRD = [
    Public(
        "keras-team/keras-contrib: Capsule",
        Capsule,
        (6, 5),
        {"lost-argument": "warning", "recurrence": "info"},
    ),
    Public(
        "tensorflow/addons: AdaptiveAveragePooling1D",
        lambda: AdaptiveAveragePooling1D(6),
        (20, 3),
        {"loop-over-positions": "warning"},
    ),
    Public(
        "danielegrattarola/spektral: ARMAConv",
        ARMAConv,
        [(6, 3), (6, 6)],
        {"created-in-call": "error", "loop-over-branches": "warning"},
        # It cannot be traced, and the source of the loop does not show the weights.
        said={"created-in-call": "error", "python-loop": "warning"},
    ),
    Public("tensorflow/addons: NoisyDense", NoisyDense, (5,), {"state-in-call": "warning"}),
    Public("titu1994/keras-neural-alu: NALU", NALU, (5,), {}),
    Public("tensorflow/addons: StochasticDepth", StochasticDepth, [(6, 3), (6, 3)], {}),
    Public("GRU-D of several repositories", GRUD, [(5, 3), (5, 3)], {"recurrence": "info"}),
    Public("multi-scale convolutions of many repositories", MultiScaleConv, (12, 3), {}),
    Public(
        "embeddings of categorical columns, as in many notebooks",
        CategoricalEmbeddings,
        (6,),
        {"loop-over-branches": "warning"},
        samples=categories,
    ),
    Public("keras-team/keras-contrib: GroupNormalization", GroupNormalization, (4, 4, 6), {}),
]
