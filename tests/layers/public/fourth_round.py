"""Layers from public code, added once those of the third round were diagnosed correctly."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.public.public import Public, numbers, register


@register
class ClusteringLayer(keras.Layer):
    """Soft assignment to clusters, by Student's t."""

    def __init__(self, n_clusters=4, weights=None, alpha=1.0, **kwargs):
        super().__init__(**kwargs)
        self.n_clusters = n_clusters
        self.alpha = alpha
        self.initial_weights = weights

    def build(self, input_shape):
        self.clusters = self.add_weight(
            shape=(self.n_clusters, input_shape[1]), initializer="glorot_uniform", name="clusters"
        )
        if self.initial_weights is not None:
            self.set_weights(self.initial_weights)
            del self.initial_weights
        self.built = True

    def call(self, inputs, **kwargs):
        apart = ops.sum(ops.square(ops.expand_dims(inputs, 1) - self.clusters), axis=2)
        q = (1.0 / (1.0 + apart / self.alpha)) ** ((self.alpha + 1.0) / 2.0)
        return ops.transpose(ops.transpose(q) / ops.sum(q, axis=1))

    def get_config(self):
        return {**super().get_config(), "n_clusters": self.n_clusters}


@register
class TabNetEncoder(keras.Layer):
    """Decision steps, each choosing features by what the steps before have used."""

    def __init__(self, features=6, units=4, steps=5, relaxation=1.3, **kwargs):
        super().__init__(**kwargs)
        self.features = features
        self.units = units
        self.steps = steps
        self.relaxation = relaxation
        self.norm = keras.layers.BatchNormalization()
        self.transforms = [keras.layers.Dense(2 * units) for _ in range(steps + 1)]
        self.masks = [keras.layers.Dense(features) for _ in range(steps)]

    def call(self, inputs, training=None):
        features = self.norm(inputs, training=training)
        hidden = ops.relu(self.transforms[0](features))
        prior = ops.ones_like(features)
        output, self.step_masks = 0.0, []
        for step in range(self.steps):
            mask = ops.softmax(self.masks[step](hidden[:, self.units :]) * prior)
            prior = prior * (self.relaxation - mask)
            self.step_masks.append(mask)
            hidden = ops.relu(self.transforms[step + 1](mask * features))
            output = output + hidden[:, : self.units]
        return output


@register
class NBeatsStack(keras.Layer):
    """Blocks that subtract what they explain and add up what they foresee."""

    def __init__(self, horizon=3, blocks=5, units=8, **kwargs):
        super().__init__(**kwargs)
        self.horizon = horizon
        self.blocks = blocks
        self.units = units

    def build(self, input_shape):
        self.hidden = [keras.layers.Dense(self.units, "relu") for _ in range(self.blocks)]
        self.back = [keras.layers.Dense(input_shape[-1]) for _ in range(self.blocks)]
        self.fore = [keras.layers.Dense(self.horizon) for _ in range(self.blocks)]
        for hidden, back, fore in zip(self.hidden, self.back, self.fore, strict=True):
            hidden.build(input_shape)
            back.build((None, self.units))
            fore.build((None, self.units))

    def call(self, x):
        forecast = 0.0
        for i in range(self.blocks):
            h = self.hidden[i](x)
            x = keras.layers.subtract([x, self.back[i](h)])
            forecast = forecast + self.fore[i](h)
        return forecast


@register
class AutoCorrelation(keras.Layer):
    """The best lags of a series, found by a Fourier transform, each rolled and weighted."""

    def __init__(self, top_k=5, **kwargs):
        super().__init__(**kwargs)
        self.top_k = top_k

    def call(self, x):
        spectrum = tf.signal.rfft(tf.transpose(x, (0, 2, 1)))
        correlation = tf.signal.irfft(spectrum * tf.math.conj(spectrum))
        mean = tf.reduce_mean(correlation, axis=(0, 1))
        weights, lags = tf.math.top_k(mean, k=self.top_k)
        weights = tf.nn.softmax(weights)
        total = tf.zeros_like(x)
        for i in range(self.top_k):
            total = total + tf.roll(x, -lags[i], axis=1) * weights[i]
        return total


@register
class FarthestPointSampling(keras.Layer):
    """A sample of points that are far apart, by NumPy in a graph."""

    def __init__(self, points=4, **kwargs):
        super().__init__(**kwargs)
        self.points = points

    def call(self, xyz):
        index = tf.numpy_function(self._sample, [xyz], tf.int64)
        index = tf.ensure_shape(index, (None, self.points))
        return tf.gather(xyz, index, batch_dims=1)

    def _sample(self, xyz):
        chosen = np.zeros((len(xyz), self.points), dtype="int64")
        for b, cloud in enumerate(xyz):
            distance = np.full(len(cloud), 1e10)
            for i in range(1, self.points):
                last = cloud[chosen[b, i - 1]]
                distance = np.minimum(distance, np.sum((cloud - last) ** 2, axis=-1))
                chosen[b, i] = np.argmax(distance)
        return chosen


@register
class SpatialPyramidModule(keras.Layer):
    """Dilated convolutions side by side, and the mean of the image."""

    def __init__(self, dilation_rates=(2, 4, 6), channels=4, **kwargs):
        super().__init__(**kwargs)
        self.dilation_rates = dilation_rates
        self.channels = channels

    def build(self, input_shape):
        self.aspp_parallel_channels = []
        for rate in (1, *self.dilation_rates):
            conv = keras.layers.Conv2D(self.channels, 3, padding="same", dilation_rate=rate)
            norm = keras.layers.BatchNormalization()
            conv.build(input_shape)
            norm.build((*input_shape[:-1], self.channels))
            self.aspp_parallel_channels.append((conv, norm))
        self.pool = keras.layers.GlobalAveragePooling2D(keepdims=True)

    def call(self, inputs, training=None):
        result = []
        for conv, norm in self.aspp_parallel_channels:
            result.append(ops.relu(norm(conv(inputs), training=training)))
        pooled = ops.broadcast_to(self.pool(inputs), ops.shape(inputs))
        return ops.concatenate([*result, pooled], axis=-1)


@register
class LMUCell(keras.Layer):
    """A Legendre memory unit: its matrices are computed with NumPy once, and are constants."""

    def __init__(self, units=4, order=3, theta=8.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.order = order
        self.theta = theta

    def build(self, input_shape):
        q = np.arange(self.order)
        r = (2 * q + 1)[:, None] / self.theta
        j, i = np.meshgrid(q, q)
        a = np.where(i < j, -1, (-1.0) ** (i - j + 1)) * r
        self.A = tf.constant(np.eye(self.order) + a, dtype="float32")
        self.B = tf.constant(((-1.0) ** q[:, None]) * r, dtype="float32")
        self.encoder = self.add_weight(shape=(input_shape[-1], 1), name="encoder")
        self.W_x = self.add_weight(shape=(input_shape[-1], self.units), name="W_x")
        self.W_m = self.add_weight(shape=(self.order, self.units), name="W_m")

    def call(self, inputs):
        m = tf.zeros((tf.shape(inputs)[0], self.order))
        outputs = []
        for t in range(inputs.shape[1]):
            u = tf.matmul(inputs[:, t], self.encoder)
            m = tf.matmul(m, self.A, transpose_b=True) + tf.matmul(u, self.B, transpose_b=True)
            outputs.append(tf.tanh(inputs[:, t] @ self.W_x + m @ self.W_m))
        return tf.stack(outputs, axis=1)


@register
class CTCLayer(keras.Layer):
    """Adds a loss from labels, gives its predictions back."""

    def __init__(self, name=None):
        super().__init__(name=name)

    def call(self, inputs):
        labels, predictions = inputs
        length = tf.fill((tf.shape(labels)[0],), labels.shape[1])
        steps = tf.fill((tf.shape(labels)[0],), predictions.shape[1])
        logits = tf.math.log(tf.nn.softmax(predictions) + 1e-7)
        loss = tf.nn.ctc_loss(
            tf.cast(labels, "int32"), logits, length, steps, logits_time_major=False
        )
        self.add_loss(tf.reduce_mean(loss))
        return predictions


@register
class TalkingHeads(keras.Layer):
    """Attention whose heads are mixed before and after the softmax."""

    def __init__(self, heads=2, size=4, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.size = size

    def build(self, input_shape):
        width = self.heads * self.size
        self.qkv = self.add_weight(shape=(input_shape[-1], 3 * width), name="qkv")
        self.pre = self.add_weight(shape=(self.heads, self.heads), name="pre")
        self.post = self.add_weight(shape=(self.heads, self.heads), name="post")

    def call(self, x):
        steps = x.shape[1]
        q, k, v = (
            tf.transpose(tf.reshape(part, (-1, steps, self.heads, self.size)), (0, 2, 1, 3))
            for part in tf.split(x @ self.qkv, 3, axis=-1)
        )
        scores = tf.matmul(q, k, transpose_b=True) / self.size**0.5
        scores = tf.transpose(tf.transpose(scores, (0, 2, 3, 1)) @ self.pre, (0, 3, 1, 2))
        attention = tf.nn.softmax(scores)
        attention = tf.transpose(tf.transpose(attention, (0, 2, 3, 1)) @ self.post, (0, 3, 1, 2))
        return tf.reshape(tf.transpose(attention @ v, (0, 2, 1, 3)), (-1, steps, 8))


@register
class GaussianSmoothing(keras.Layer):
    """A blur of each channel, one after the other."""

    def __init__(self, size=3, sigma=1.0, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.sigma = sigma

    def build(self, input_shape):
        axis = np.arange(self.size) - self.size // 2
        line = np.exp(-(axis**2) / (2 * self.sigma**2))
        kernel = np.outer(line, line) / np.sum(np.outer(line, line))
        self.kernel = tf.Variable(kernel[:, :, None, None], dtype="float32", trainable=False)

    def call(self, x):
        channels = tf.unstack(x, axis=-1)
        smooth = []
        for channel in channels:
            one = tf.expand_dims(channel, -1)
            smooth.append(tf.nn.conv2d(one, self.kernel, 1, "SAME"))
        return tf.concat(smooth, axis=-1)


def labels_and_predictions():
    return [np.random.default_rng(0).integers(1, 5, (16, 3)), numbers(16, 8, 6)]


FOURTH = [
    Public(
        "XifengGuo/DEC-keras: ClusteringLayer",
        ClusteringLayer,
        (5,),
        {"lost-argument": "warning"},
    ),
    Public("TabNet of several repositories: its encoder", TabNetEncoder, (6,), {}),
    Public(
        "philipperemy/n-beats and others: a stack",
        NBeatsStack,
        (8,),
        {"unused-weight": "warning"},  # for what the last block would subtract
    ),
    Public(
        "Autoformer ports: AutoCorrelation",
        AutoCorrelation,
        (12, 3),
        {"batch-dependent": "error", "python-loop": "warning", "tflite-fails": "error"},
    ),
    Public(
        "PointNet++ ports: farthest point sampling",
        FarthestPointSampling,
        (10, 3),
        {"python-in-graph": "error"},
    ),
    Public("keras-team/keras-cv: SpatialPyramidPooling", SpatialPyramidModule, (8, 8, 4), {}),
    Public("nengo/keras-lmu: LMUCell", LMUCell, (7, 3), {"recurrence": "info"}),
    Public(
        "keras-team/keras-io: CTCLayer",
        CTCLayer,
        [(3,), (8, 6)],
        {"reload-fails": "error"},
        samples=labels_and_predictions,
    ),
    Public("tensorflow/models: talking-heads attention", TalkingHeads, (6, 8), {}),
    Public(
        "Gaussian blurs of several repositories",
        GaussianSmoothing,
        (6, 6, 6),
        {"loop-over-channels": "warning"},
    ),
]
