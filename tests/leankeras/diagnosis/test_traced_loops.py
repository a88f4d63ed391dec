"""What loops run over, inferred from their traces; nothing is saved or converted."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from leankeras.diagnosis.loops import read_loops
from leankeras.diagnosis.samples import find_inputs
from leankeras.diagnosis.source import read_class
from leankeras.diagnosis.traced_loops import trace_loop
from leankeras.diagnosis.trial import Trial, try_graph


class Weighted(keras.Layer):
    """With weights that the layers below slice: (6, 4, 4) and (4, 6)."""

    def build(self, input_shape):
        self.stack = self.add_weight(shape=(6, 4, 4), name="stack")
        self.table = self.add_weight(shape=(4, 6), name="table")


class LocallyConnected(Weighted):
    def call(self, x):
        rows = [ops.matmul(x[:, i], self.stack[i]) for i in range(self.stack.shape[0])]
        return ops.stack(rows, axis=1)


class Windows(keras.Layer):
    def call(self, x):
        return ops.stack([ops.mean(x[:, i : i + 3], axis=1) for i in range(6)], axis=1)


class TakenByIndex(keras.Layer):
    def call(self, x):
        outputs = []
        for t in range(6):
            outputs.append(ops.tanh(ops.take(x, t, axis=1)) + ops.take(x, 0, axis=1))
        return ops.stack(outputs, axis=1)


class WeightSlices(Weighted):
    def call(self, x):
        return ops.stack([ops.matmul(x, self.stack[i]) for i in range(6)], axis=1)


class MaxPlus(Weighted):
    def call(self, x):
        return ops.stack([ops.max(x + self.table[:, i], axis=-1) for i in range(6)], axis=-1)


class Anchors(keras.Layer):
    def call(self, x):
        boxes = ops.reshape(x, (-1, 4, 4, 6, 5))
        return ops.stack([ops.sigmoid(boxes[:, :, :, a]) * (a + 1.0) for a in range(6)], axis=3)


class AnchorScores(keras.Layer):
    def call(self, x):
        scores = ops.reshape(x, (-1, 4, 4, 6, 5))[..., 4]
        return ops.stack([ops.sigmoid(scores[..., a]) * (a + 1.0) for a in range(6)], axis=3)


class AnchorGroups(keras.Layer):
    def call(self, x):
        return ops.stack([ops.sigmoid(x[..., 5 * a : 5 * a + 5]) for a in range(6)], axis=3)


class Regions(keras.Layer):
    def call(self, inputs):
        image, boxes = inputs
        outputs = []
        for i in range(boxes.shape[1]):
            start = ops.cast(boxes[0, i, 0], "int32")
            outputs.append(ops.mean(image[:, start : start + 3], axis=(1, 2)))
        return ops.stack(outputs, axis=1)


class RegionsCropped(keras.Layer):
    def call(self, inputs):
        image, boxes = inputs
        outputs = []
        for box in tf.unstack(boxes, axis=1):
            which = tf.range(tf.shape(box)[0])
            outputs.append(tf.image.crop_and_resize(image, box, which, (2, 2)))
        return ops.stack(outputs, axis=1)


class Rows(keras.Layer):
    def call(self, x):
        return ops.stack([ops.max(x[:, i], axis=1) for i in range(x.shape[1])], axis=1)


class Blocks(keras.Layer):
    def build(self, input_shape):
        self.first = [keras.layers.Dense(4) for _ in range(6)]
        self.second = [keras.layers.Dense(4) for _ in range(6)]
        for dense in self.first + self.second:
            dense.build((None, 4))


class StackInAList(Blocks):
    def call(self, x):
        seen = [x]
        for first, second in zip(self.first, self.second, strict=True):
            seen.append(second(ops.tanh(first(seen[-1]))) + seen[-1])
        return ops.concatenate(seen, axis=-1)


class StackByMethod(Blocks):
    def call(self, x):
        for i in range(6):
            x = self._block(x, i)
        return x

    def _block(self, x, i):
        return self.second[i](self.first[i](x))


class StackOfSlices(Weighted):
    def call(self, x):
        for i in range(6):
            x = ops.tanh(ops.matmul(x, self.stack[i]))
        return x


class Branches(Blocks):
    def call(self, x):
        return ops.stack([b(a(x)) for a, b in zip(self.first, self.second, strict=True)])


class Shared(Blocks):
    def call(self, x):
        for _ in range(6):
            x = self.first[0](x)
        return x


class Unlike(keras.Layer):
    def build(self, input_shape):
        self.convolutions = [keras.layers.Conv1D(2, k, padding="same") for k in (1, 3, 5, 7, 9)]
        for convolution in self.convolutions:
            convolution.build(input_shape)

    def call(self, x):
        return ops.concatenate([convolution(x) for convolution in self.convolutions], axis=-1)


class Dilated(keras.Layer):
    def build(self, input_shape):
        rates = (1, 2, 3, 4, 5)
        self.convolutions = [
            keras.layers.Conv1D(2, 3, padding="same", dilation_rate=rate) for rate in rates
        ]
        for convolution in self.convolutions:
            convolution.build(input_shape)

    def call(self, x):
        return ops.concatenate([convolution(x) for convolution in self.convolutions], axis=-1)


class Pyramid(keras.Layer):
    def call(self, x):
        pooled = []
        for size in (1, 2, 4, 6, 12):
            pooled.append(ops.max_pool(x, size))
        return ops.concatenate(pooled, axis=1)


class Filters(keras.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(3, input_shape[-1], 6))

    def call(self, x):
        for i in range(6):
            one = tf.nn.conv1d(x, self.kernel[..., i : i + 1], 1, "SAME")
            total = one if i == 0 else ops.concatenate([total, one], axis=-1)  # noqa: F821
        return total


class Tables(keras.Layer):
    def build(self, input_shape):
        self.tables = [keras.layers.Embedding(5, 2) for _ in range(input_shape[-1])]

    def call(self, x):
        return ops.stack([table(x[:, i]) for i, table in enumerate(self.tables)], axis=1)


class Samples(keras.Layer):
    def call(self, x):
        return ops.stack([ops.tanh(sample) for sample in tf.unstack(x)])


class Running(keras.Layer):
    def call(self, x):
        total, largest = 0.0, x[:, 0]
        for t in range(x.shape[1]):
            total = total + ops.exp(x[:, t]) * 2
            largest = ops.maximum(largest, x[:, t])
        return total * largest


class Smoothed(keras.Layer):
    def call(self, x):
        level = x[:, 0]
        for t in range(1, x.shape[1]):
            level = 0.9 * level + 0.1 * x[:, t]
        return level


class Unpacked(keras.Layer):
    def call(self, x):
        a, b, c = (ops.transpose(part) for part in ops.split(x, 3, axis=-1))
        first, last = (x[:, i] for i in (0, 1))
        return a + b + c, first + last


class Inside(keras.Layer):
    def call(self, x):
        def channels(sample):
            return ops.stack([ops.max(sample[:, c]) for c in range(4)])

        return tf.map_fn(channels, x, fn_output_signature=tf.TensorSpec((4,), "float32"))


class Constants(keras.Layer):
    def call(self, x):
        waves = [tf.sin(tf.range(4.0) * k) for k in range(6)]
        return x + tf.add_n(waves)


def traced(layer: keras.Layer, shape, samples=None):
    """The loops of a layer as they were traced, outer ones first."""
    source = read_class(type(layer))
    inputs = find_inputs(layer, shape, samples)
    inputs.call(layer, inputs.batch())
    trial = Trial(layer, inputs, frozenset(one.path for one in source.classes))
    assert try_graph(trial), trial.faults
    return [trace_loop(trial, loop) for loop in read_loops(source)]


@pytest.mark.parametrize(
    ("cls", "shape", "over"),
    [
        (LocallyConnected, (6, 4), "timesteps"),
        (Windows, (8, 4), "positions"),
        (Rows, (6, 5, 4), "positions"),
        (TakenByIndex, (6, 4), "timesteps"),
        (WeightSlices, (4,), "branches"),
        (MaxPlus, (4,), "python-loop"),
        (Anchors, (4, 4, 30), "python-loop"),
        (AnchorScores, (4, 4, 30), "python-loop"),
        (AnchorGroups, (4, 4, 30), "groups"),
        (Regions, [(8, 8, 3), (6, 4)], "regions"),
        (RegionsCropped, [(8, 8, 3), (6, 4)], "regions"),
        (StackInAList, (4,), None),
        (StackByMethod, (4,), None),
        (StackOfSlices, (4,), None),
        (Branches, (4,), "branches"),
        (Shared, (4,), "recurrence"),
        (Unlike, (12, 3), None),
        (Dilated, (12, 3), None),
        (Pyramid, (12, 3), None),
        (Filters, (12, 3), "filters"),
        (Samples, (4,), "batch"),
        (Running, (6, 4), "timesteps"),
        (Smoothed, (6, 4), "recurrence"),
        (Inside, (6, 4), "channels"),
        (Constants, (4,), "python-loop"),
    ],
)
def test_what_a_loop_runs_over_is_in_the_graph(cls, shape, over):
    (loop,) = traced(cls(), shape)
    assert loop.over == over


def test_a_table_for_each_column_is_a_branch():
    columns = np.random.default_rng(0).integers(0, 5, (8, 6))
    (loop,) = traced(Tables(), None, columns)
    assert loop.over == "branches"


def test_taking_a_few_parts_is_no_loop():
    assert [loop.over for loop in traced(Unpacked(), (4, 6))] == [None, None]


def test_a_loop_of_constants_is_told():
    (loop,) = traced(Constants(), (4,))
    assert loop.is_constant
    assert not traced(Smoothed(), (6, 4))[0].is_constant


def test_the_axis_is_told_with_its_shape():
    (loop,) = traced(Windows(), (8, 4))
    assert loop.along == "along axis 1 of shape (1, 8, 4)"
    assert (loop.steps, loop.runs) == (6, 1)
    assert 0 < loop.nodes < loop.of_nodes
