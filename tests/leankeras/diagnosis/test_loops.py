"""Loops as people write them; the classes are read only, never run."""

import keras
import pytest
import tensorflow as tf
from keras import ops

from tests.leankeras.diagnosis.reading import read


class SamplesByIndex(keras.Layer):
    def call(self, x):
        return ops.stack([ops.matmul(x[i], self.w) for i in range(x.shape[0])])


class SamplesUnstacked(keras.Layer):
    def call(self, x):
        outputs = []
        for sample in tf.unstack(x):
            outputs.append(sample * 2)
        return tf.stack(outputs)


class StepsUnstacked(keras.Layer):
    def call(self, x):
        return tf.stack([self.dense(step) for step in tf.unstack(x, axis=1)], axis=1)


class StepsSummed(keras.Layer):
    def call(self, x):
        total = 0.0
        for t in range(x.shape[1]):
            total = total + self.dense(x[:, t])
        return total


class Cell(keras.Layer):
    def build(self, input_shape):
        self.cell = keras.layers.GRUCell(4)

    def call(self, x):
        state = [tf.zeros((1, 4))]
        for t in range(x.shape[1]):
            output, state = self.cell(x[:, t], state)
        return output


class Filtered(keras.Layer):
    def call(self, x):
        before = x[:, 0]
        outputs = []
        for t in range(1, x.shape[1]):
            now = 0.9 * before + x[:, t]
            outputs.append(now)
            before = now
        return ops.stack(outputs, axis=1)


class HeadsByIndex(keras.Layer):
    def __init__(self):
        self.heads = []
        for _ in range(3):
            self.heads.append(keras.layers.Dense(3))

    def call(self, x):
        outputs = []
        for i in range(len(self.heads)):
            outputs.append(self.heads[i](x))
        return ops.concatenate(outputs)


class KernelSliced(keras.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight((3, 2, 8))

    def call(self, x):
        return tf.stack(
            [tf.nn.conv1d(x, self.kernel[:, :, i : i + 1], 1, "SAME") for i in range(8)]
        )


class ChannelLayers(keras.Layer):
    def build(self, input_shape):
        self.convolutions = [keras.layers.Conv1D(1, 3) for _ in range(input_shape[-1])]

    def call(self, x):
        return ops.concatenate(
            [conv(x[..., i : i + 1]) for i, conv in enumerate(self.convolutions)]
        )


class GroupsSliced(keras.Layer):
    def __init__(self):
        self.convolutions = [keras.layers.Conv1D(4, 3) for _ in range(2)]

    def call(self, x):
        outputs = []
        for g in range(2):
            outputs.append(self.convolutions[g](x[..., g * self.size : (g + 1) * self.size]))
        return ops.concatenate(outputs, axis=-1)


class Positions(keras.Layer):
    def call(self, x):
        _, height, width, _ = x.shape
        total = 0
        for i in range(height):
            for j in range(width):
                total = total + x[:, i, j] * 3
        return total


class InHelper(keras.Layer):
    def call(self, x):
        return self._powers(x)

    def _powers(self, x):
        return ops.stack([ops.power(x, k) for k in range(8)])


class Scanned(keras.Layer):
    def call(self, x):
        return tf.scan(lambda a, b: a + b, x)


class Chain(keras.Layer):
    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class ChainByIndex(keras.Layer):
    def __init__(self):
        self.blocks = [keras.layers.Dense(3) for _ in range(3)]

    def call(self, x):
        for i in range(3):
            x = self.blocks[i](x) + x
        return x


class Shapes(keras.Layer):
    def call(self, x):
        total = 1
        for size in x.shape[1:]:
            total = total * size
        return ops.reshape(x, (-1, total))


class SizeOfAWeight(keras.Layer):
    def call(self, x):
        return ops.stack([ops.matmul(x, self.kernel[i]) for i in range(self.kernel.shape[0])])


class MaxPlus(keras.Layer):
    def build(self, input_shape):
        self.w = self.add_weight(shape=(4, 8))

    def call(self, x):
        return ops.stack([ops.max(x + self.w[:, i], axis=-1) for i in range(8)])


class Boxes(keras.Layer):
    def call(self, inputs):
        image, boxes = inputs
        outputs = []
        for i in range(boxes.shape[1]):
            x, width = boxes[:, i, 0], boxes[:, i, 1]
            outputs.append(ops.mean(image[:, x : x + width], axis=1))
        return ops.stack(outputs, axis=1)


class ByMethod(keras.Layer):
    def call(self, x):
        for i in range(6):
            x = self._block(x, i)
        return x

    def _block(self, x, i):
        return self.blocks[i](x)


class NotReached(keras.Layer):
    def call(self, x):
        return x

    def show(self, x):
        return [ops.power(x, k) for k in range(8)]


@pytest.mark.parametrize(
    ("cls", "rules"),
    [
        (SamplesByIndex, ["loop-over-batch"]),
        (SamplesUnstacked, ["loop-over-batch"]),
        (StepsUnstacked, ["loop-over-timesteps"]),
        (StepsSummed, ["loop-over-timesteps"]),
        (Cell, ["recurrence"]),
        (Filtered, ["recurrence"]),
        (HeadsByIndex, ["loop-over-branches"]),
        (KernelSliced, ["loop-over-filters"]),
        (ChannelLayers, ["loop-over-channels"]),
        (GroupsSliced, ["loop-over-groups"]),
        (Positions, ["loop-over-positions"]),
        (InHelper, ["python-loop"]),
        (Scanned, ["dynamic-loop"]),
        (Chain, []),
        (ChainByIndex, []),
        (Shapes, []),
        (SizeOfAWeight, ["python-loop"]),
        (MaxPlus, ["python-loop"]),
        (Boxes, ["loop-over-regions"]),
        (ByMethod, []),
        (NotReached, []),
    ],
)
def test_what_a_loop_seems_to_run_over(cls, rules):
    assert read(cls) == rules
