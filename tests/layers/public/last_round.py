"""Layers from public code, added last: nothing has been changed for them since."""

import itertools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.public.public import Public, numbers, register


@register
class RegressBoxes(keras.Layer):
    """Boxes moved by what a network predicts."""

    def __init__(self, mean=None, std=None, **kwargs):
        super().__init__(**kwargs)
        self.mean = np.array([0, 0, 0, 0] if mean is None else mean, dtype="float32")
        self.std = np.array([0.2, 0.2, 0.2, 0.2] if std is None else std, dtype="float32")

    def call(self, inputs, **kwargs):
        anchors, regression = inputs
        size = anchors[:, :, 2:] - anchors[:, :, :2]
        size = ops.concatenate([size, size], axis=-1)
        return anchors + (regression * self.std + self.mean) * size

    def get_config(self):
        config = super().get_config()
        config.update({"mean": self.mean.tolist(), "std": self.std.tolist()})
        return config


@register
class FEFMLayer(keras.Layer):
    """A symmetric matrix for each pair of fields, in a dict."""

    def __init__(self, regularizer=0.0, **kwargs):
        super().__init__(**kwargs)
        self.regularizer = regularizer

    def build(self, input_shape):
        self.fields, size = input_shape[1], input_shape[2]
        self.field_embeddings = {}
        for a, b in itertools.combinations(range(self.fields), 2):
            self.field_embeddings[f"{a}-{b}"] = self.add_weight(
                shape=(size, size), name=f"field_{a}_{b}"
            )

    def call(self, inputs, **kwargs):
        products = []
        for a, b in itertools.combinations(range(self.fields), 2):
            matrix = self.field_embeddings[f"{a}-{b}"]
            symmetric = matrix + tf.transpose(matrix)
            left = tf.matmul(inputs[:, a], symmetric)
            products.append(tf.reduce_sum(left * inputs[:, b], axis=-1, keepdims=True))
        return tf.concat(products, axis=1)


@register
class GramMatrix(keras.Layer):
    """What goes with what, over all places."""

    def call(self, x):
        gram = tf.linalg.matmul(
            tf.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])),
            tf.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])),
            transpose_a=True,
        )
        return gram / tf.cast(x.shape[1] * x.shape[2], x.dtype)


@register
class GreedyDecoder(keras.Layer):
    """Tokens one after the other, each from the one before."""

    def __init__(self, vocabulary=6, units=4, length=7, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary = vocabulary
        self.units = units
        self.length = length
        self.embedding = keras.layers.Embedding(vocabulary, units)
        self.cell = keras.layers.GRUCell(units)
        self.output_layer = keras.layers.Dense(vocabulary)

    def call(self, state, training=None):
        token = tf.zeros_like(state[:, 0], dtype="int32")
        logits = []
        for _ in range(self.length):
            hidden, states = self.cell(self.embedding(token), [state], training=training)
            state = states[0]
            scores = self.output_layer(hidden)
            token = tf.argmax(scores, axis=-1, output_type="int32")
            logits.append(scores)
        return tf.stack(logits, axis=1)


@register
class MultiSampleDropout(keras.Layer):
    """The mean over several dropouts, in front of one Dense."""

    def __init__(self, samples=8, units=3, **kwargs):
        super().__init__(**kwargs)
        self.samples = samples
        self.units = units
        self.dropouts = [keras.layers.Dropout(0.3) for _ in range(samples)]
        self.dense = keras.layers.Dense(units)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x, training=None):
        outs = [self.dense(dropout(x, training=training)) for dropout in self.dropouts]
        return ops.mean(ops.stack(outs, axis=0), axis=0)


@register
class MonteCarloDropout(keras.layers.Dropout):
    """A Dropout that never stops."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


@register
class HyperConv(keras.Layer):
    """A kernel for each sample, made by a Dense, applied in a map."""

    def __init__(self, filters=2, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        image, code = input_shape
        self.shape = (3, 3, image[-1], self.filters)
        self.generator = keras.layers.Dense(int(np.prod(self.shape)))
        self.generator.build(code)

    def call(self, inputs):
        image, code = inputs
        kernels = tf.reshape(self.generator(code), (-1, *self.shape))
        signature = tf.TensorSpec((image.shape[1], image.shape[2], self.filters), "float32")
        return tf.map_fn(
            lambda one: tf.nn.conv2d(one[0][None], one[1], 1, "SAME")[0],
            (image, kernels),
            fn_output_signature=signature,
        )


@register
class NamedBlocks(keras.Layer):
    """Blocks in a row, kept by name."""

    def __init__(self, units=4, names=("a", "b", "c", "d", "e", "f"), **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.names = names
        self.blocks = {name: keras.layers.Dense(units, activation="tanh") for name in names}

    def build(self, input_shape):
        for block in self.blocks.values():
            block.build((None, self.units))

    def call(self, x):
        for name, block in self.blocks.items():
            y = block(x)
            x = x + y if name != "a" else y
        return x


@register
class TiedEmbedding(keras.layers.Embedding):
    """An embedding that also turns vectors back into scores."""

    def call(self, inputs, reverse=False):
        if reverse:
            return ops.matmul(inputs, ops.transpose(self.embeddings))
        return super().call(inputs)


@register
class DenseOfEachStep(keras.Layer):
    """A Dense for each timestep, each with weights of its own."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.denses = [keras.layers.Dense(self.units) for _ in range(input_shape[1])]
        for dense in self.denses:
            dense.build((None, input_shape[-1]))

    def call(self, x):
        outputs = []
        for t, dense in enumerate(self.denses):
            outputs.append(dense(x[:, t, :]))
        return ops.stack(outputs, axis=1)


def indices():
    return np.random.default_rng(0).integers(0, 9, (16, 5))


def anchors_and_regression():
    corner = np.abs(numbers(16, 6, 2))
    return [np.concatenate([corner, corner + 1], axis=-1), numbers(16, 6, 4, seed=1)]


LAST = [
    Public(
        "fizyr/keras-retinanet: RegressBoxes",
        RegressBoxes,
        [(6, 4), (6, 4)],
        {},
        samples=anchors_and_regression,
    ),
    Public(
        "shenweichen/DeepCTR: FEFMLayer",
        FEFMLayer,
        (4, 3),
        {"loop-over-branches": "warning"},
        said={"loop-over-timesteps": "warning"},  # the axis of the fields is mistaken for time
    ),
    Public("style transfer of several repositories: GramMatrix", GramMatrix, (4, 4, 3), {}),
    Public(
        "sequence decoders of several repositories", GreedyDecoder, (4,), {"recurrence": "info"}
    ),
    Public(
        "multi-sample dropout, as in many notebooks",
        MultiSampleDropout,
        (5,),
        {"python-loop": "warning"},
    ),
    Public(
        "ageron/handson-ml: MCDropout",
        lambda: MonteCarloDropout(0.4),
        (6,),
        {"random-at-inference": "error"},
    ),
    Public(
        "hypernetworks of several repositories",
        HyperConv,
        [(5, 5, 2), (3,)],
        {"dynamic-loop": "warning"},
    ),
    Public("blocks kept in a dict", NamedBlocks, (4,), {}),
    Public(
        "keras-team/keras-nlp: ReversibleEmbedding",
        lambda: TiedEmbedding(9, 4),
        (5,),
        {},
        samples=indices,
    ),
    Public(
        "a Dense of its own for each timestep",
        DenseOfEachStep,
        (6, 4),
        {"loop-over-timesteps": "warning"},
    ),
]
