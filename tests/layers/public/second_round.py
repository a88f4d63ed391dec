"""Layers from public code, added once the first ones were diagnosed correctly."""

import itertools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.public.public import Public, numbers, register


@register
class DetectionLayer(keras.Layer):
    """The best boxes of each image, for a number of images that the constructor is told."""

    def __init__(self, images_per_gpu=2, keep=3, **kwargs):
        super().__init__(**kwargs)
        self.images_per_gpu = images_per_gpu
        self.keep = keep

    def call(self, inputs):
        scores, boxes = inputs
        outputs = []
        for i in range(self.images_per_gpu):
            outputs.append(self._refine(scores[i], boxes[i]))
        return tf.stack(outputs, axis=0)

    def _refine(self, scores, boxes):
        best, index = tf.nn.top_k(scores, k=self.keep)
        return tf.concat([tf.gather(boxes, index), best[:, None]], axis=1)


@register
class KMaxPooling(keras.Layer):
    """The k largest values of each channel; not of the shape that it says."""

    def __init__(self, k=2, **kwargs):
        super().__init__(**kwargs)
        self.k = k

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[2] * self.k)

    def call(self, inputs):
        shifted = tf.transpose(inputs, [0, 2, 1])
        return tf.nn.top_k(shifted, k=self.k, sorted=True)[0]


@register
class Time2Vec(keras.Layer):
    """A linear and several periodic functions of the step."""

    def __init__(self, kernel_size=3, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size

    def build(self, input_shape):
        steps = input_shape[1]
        self.wb = self.add_weight(name="wb", shape=(steps,), initializer="uniform")
        self.bb = self.add_weight(name="bb", shape=(steps,), initializer="uniform")
        self.wa = self.add_weight(name="wa", shape=(1, steps, self.kernel_size))
        self.ba = self.add_weight(name="ba", shape=(1, steps, self.kernel_size))
        super().build(input_shape)

    def call(self, inputs, **kwargs):
        linear = self.wb * inputs + self.bb
        periodic = ops.sin(tf.einsum("bt,otk->btk", inputs, self.wa) + self.ba)
        return ops.concatenate([ops.expand_dims(linear, -1), periodic], -1)


@register
class SpectralNormalization(keras.layers.Wrapper):
    """A layer whose kernel is divided by its largest singular value as it trains."""

    def build(self, input_shape):
        super().build(input_shape)
        shape = self.layer.kernel.shape
        self.u = self.add_weight(
            shape=(1, shape[-1]), initializer="random_normal", trainable=False, name="sn_u"
        )

    def call(self, inputs, training=False):
        if training:
            self.normalize_weights()
        return self.layer(inputs)

    def normalize_weights(self):
        w = tf.reshape(self.layer.kernel, [-1, self.layer.kernel.shape[-1]])
        v = tf.math.l2_normalize(tf.matmul(self.u, w, transpose_b=True))
        u = tf.math.l2_normalize(tf.matmul(v, w))
        sigma = tf.matmul(tf.matmul(v, w), u, transpose_b=True)
        self.u.assign(u)
        self.layer.kernel.assign(self.layer.kernel / tf.squeeze(sigma))


@register
class NeuralTuringMachine(keras.Layer):
    """A memory that each step reads with several heads and writes with one."""

    def __init__(self, slots=6, width=4, read_heads=5, **kwargs):
        super().__init__(**kwargs)
        self.slots = slots
        self.width = width
        self.read_heads = read_heads

    def build(self, input_shape):
        size = input_shape[-1] + self.read_heads * self.width
        self.controller = self.add_weight(shape=(size, (self.read_heads + 1) * self.width))
        self.memory = self.add_weight(shape=(self.slots, self.width), name="memory")

    def call(self, x):
        memory = tf.tile(self.memory[None], (tf.shape(x)[0], 1, 1))
        read = tf.zeros_like(tf.tile(x[:, 0, :1], (1, self.read_heads * self.width)))
        outputs = []
        for t in range(x.shape[1]):
            keys = tf.tanh(tf.matmul(tf.concat([x[:, t], read], axis=-1), self.controller))
            reads = []
            for head in range(self.read_heads):
                key = keys[:, head * self.width : (head + 1) * self.width]
                address = tf.nn.softmax(tf.einsum("bsw,bw->bs", memory, key))
                reads.append(tf.einsum("bs,bsw->bw", address, memory))
            read = tf.concat(reads, axis=-1)
            write = keys[:, -self.width :]
            address = tf.nn.softmax(tf.einsum("bsw,bw->bs", memory, write))
            memory = memory + address[..., None] * write[:, None]
            outputs.append(read)
        return tf.stack(outputs, axis=1)


@register
class ViterbiDecoder(keras.Layer):
    """The best sequence of tags, forth and back."""

    def build(self, input_shape):
        tags = input_shape[-1]
        self.transitions = self.add_weight(shape=(tags, tags), name="transitions")

    def call(self, potentials):
        steps = potentials.shape[1]
        score = potentials[:, 0]
        pointers = []
        for t in range(1, steps):
            candidates = score[:, :, None] + self.transitions[None]
            pointers.append(tf.argmax(candidates, axis=1, output_type=tf.int32))
            score = tf.reduce_max(candidates, axis=1) + potentials[:, t]
        best = tf.argmax(score, axis=1, output_type=tf.int32)
        tags = [best]
        for pointer in reversed(pointers):
            best = tf.gather(pointer, best, batch_dims=1)
            tags.append(best)
        return tf.stack(tags[::-1], axis=1)


@register
class PCEN(keras.Layer):
    """Per-channel energy normalization, its moving average in a scan."""

    def __init__(self, smooth=0.04, **kwargs):
        super().__init__(**kwargs)
        self.smooth = smooth

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.alpha = self.add_weight(shape=shape, initializer="ones", name="alpha")
        self.delta = self.add_weight(shape=shape, initializer="ones", name="delta")
        self.root = self.add_weight(shape=shape, initializer="ones", name="root")

    def call(self, x):
        x = tf.abs(x)
        frames = tf.transpose(x, (1, 0, 2))
        ema = tf.scan(lambda a, b: (1 - self.smooth) * a + self.smooth * b, frames)
        ema = tf.transpose(ema, (1, 0, 2))
        root = 1 / tf.maximum(self.root, 1.0)
        return (x / (1e-3 + ema) ** self.alpha + self.delta) ** root - self.delta**root


@register
class VariableSelection(keras.Layer):
    """A small network for each feature, and a weight for each of their outputs."""

    def __init__(self, num_features=6, units=4, **kwargs):
        super().__init__(**kwargs)
        self.num_features = num_features
        self.units = units
        self.grns = [keras.layers.Dense(units, activation="elu") for _ in range(num_features)]
        self.softmax = keras.layers.Dense(num_features, activation="softmax")

    def call(self, inputs):
        weights = tf.expand_dims(self.softmax(keras.layers.concatenate(inputs)), axis=-1)
        outputs = []
        for index, value in enumerate(inputs):
            outputs.append(self.grns[index](value))
        outputs = tf.stack(outputs, axis=1)
        return tf.squeeze(tf.matmul(weights, outputs, transpose_a=True), axis=1)


@register
class BilinearInteraction(keras.Layer):
    """A matrix for each pair of fields."""

    def build(self, input_shape):
        size = input_shape[0][-1]
        self.W_list = [
            self.add_weight(shape=(size, size), name=f"bilinear{i}_{j}")
            for i, j in itertools.combinations(range(len(input_shape)), 2)
        ]

    def call(self, inputs, **kwargs):
        p = [
            tf.multiply(tf.tensordot(v[0], w, axes=(-1, 0)), v[1])
            for v, w in zip(itertools.combinations(inputs, 2), self.W_list, strict=True)
        ]
        return tf.concat(p, axis=1)


@register
class CenterLossLayer(keras.Layer):
    """The distance to the centre of a class; each call moves the centres, in use as well."""

    def __init__(self, classes=3, alpha=0.5, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes
        self.alpha = alpha

    def build(self, input_shape):
        self.centers = self.add_weight(
            name="centers",
            shape=(self.classes, input_shape[0][-1]),
            initializer="uniform",
            trainable=False,
        )

    def call(self, x, mask=None):
        features, labels = x
        delta = ops.matmul(ops.transpose(labels), ops.matmul(labels, self.centers) - features)
        count = ops.sum(ops.transpose(labels), axis=1, keepdims=True) + 1
        self.centers.assign(self.centers - self.alpha * delta / count)
        return ops.sum((features - ops.matmul(labels, self.centers)) ** 2, axis=1, keepdims=True)


@register
class FilterDetections(keras.Layer):
    """The scores of each class, class by class, for each image of a map."""

    def __init__(self, classes=6, keep=3, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes
        self.keep = keep

    def call(self, inputs):
        boxes, scores = inputs

        def one_image(arguments):
            boxes, scores = arguments
            found = []
            for c in range(self.classes):
                best, index = tf.nn.top_k(scores[:, c], k=self.keep)
                found.append(tf.concat([tf.gather(boxes, index), best[:, None]], axis=1))
            return tf.concat(found, axis=0)

        signature = tf.TensorSpec((self.classes * self.keep, 5), "float32")
        return tf.map_fn(one_image, [boxes, scores], fn_output_signature=signature)


def features_and_labels():
    labels = np.eye(3, dtype="float32")[np.arange(16) % 3]
    return [numbers(16, 4), labels]


SECOND = [
    Public(
        "matterport/Mask_RCNN: DetectionLayer and batch_slice",
        DetectionLayer,
        [(6,), (6, 4)],
        {"loop-over-batch": "error"},
    ),
    Public(
        "k-max pooling of several repositories",
        KMaxPooling,
        (6, 4),
        {"wrong-output-shape": "error"},
    ),
    Public("ojus1/Time2Vec and others: Time2Vec", Time2Vec, (6,), {"tflite-fails": "error"}),
    Public(
        "tensorflow/addons: SpectralNormalization",
        lambda: SpectralNormalization(keras.layers.Conv1D(4, 3)),
        (8, 3),
        {},
    ),
    Public(
        "flomlo/ntm_keras and others: a Neural Turing Machine",
        NeuralTuringMachine,
        (5, 3),
        {"recurrence": "info", "loop-over-groups": "warning"},
    ),
    Public(
        "CRF layers of several repositories: Viterbi decoding",
        ViterbiDecoder,
        (6, 4),
        {"recurrence": "info"},
    ),
    Public("google-research/leaf-audio: PCEN", PCEN, (8, 4), {"dynamic-loop": "warning"}),
    Public(
        "keras-team/keras-io: VariableSelection",
        VariableSelection,
        [(3,)] * 6,
        {"loop-over-branches": "warning"},
    ),
    Public(
        "shenweichen/DeepCTR: BilinearInteraction",
        BilinearInteraction,
        [(1, 4)] * 4,
        {"loop-over-branches": "warning"},
    ),
    Public(
        "center loss of several repositories: CenterLossLayer",
        CenterLossLayer,
        [(4,), (3,)],
        {"random-at-inference": "error"},
        samples=features_and_labels,
    ),
    Public(
        "fizyr/keras-retinanet: FilterDetections",
        FilterDetections,
        [(8, 4), (8, 6)],
        {"dynamic-loop": "warning", "loop-over-channels": "warning"},
    ),
]
