"""Layers with one fault each, and the finding it should give."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tensorflow.python.framework import ops as _private

from tests.layers.pattern import register


class Faulty(keras.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")


@register
class BatchLoop(Faulty):
    def call(self, x):
        return ops.stack([ops.tanh(x[i]) * self.scale for i in range(x.shape[0])])


@register
class PowerLoop(Faulty):
    def call(self, x):
        return ops.concatenate([ops.power(self.scale * x, k) for k in range(8)], axis=-1)


@register
class ShortLoop(Faulty):
    def call(self, x):
        powers = []
        for k in range(3):
            powers.append(ops.power(self.scale * x, k))
        return ops.concatenate(powers, axis=-1)


@register
class MapFunction(Faulty):
    def call(self, x):
        return tf.map_fn(lambda sample: sample * self.scale, x)


@register
class PythonFunction(Faulty):
    def call(self, x):
        result = tf.numpy_function(np.tanh, [x * self.scale], tf.float32)
        return tf.ensure_shape(result, x.shape)


@register
class NumpyInCall(Faulty):
    def call(self, x):
        return ops.convert_to_tensor(np.maximum(x, 0)) * self.scale


@register
class BranchOnTensor(Faulty):
    def call(self, x):
        if ops.max(x) > 1:
            x = x / 2
        return x * self.scale


@register
class Counting(Faulty):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = 0

    def call(self, x):
        self.calls += 1
        return x * self.scale * self.calls


@register
class Remembering(Faulty):
    def call(self, x):
        self.last = x * self.scale
        return self.last


@register
class CreatesInCall(Faulty):
    def call(self, x):
        return keras.layers.Dense(4)(x) * ops.mean(self.scale)


@register
class CreatesTwice(keras.Layer):
    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(units)

    def build(self, input_shape):
        self.dense = keras.layers.Dense(self.units)
        self.dense.build(input_shape)

    def call(self, x):
        return self.dense(x)


@register
class PlainVariable(keras.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale = tf.Variable(np.random.default_rng().normal(), dtype="float32")

    def call(self, x):
        return x * self.scale


@register
class RandomAttribute(Faulty):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.projection = keras.random.normal((6, 4))

    def call(self, x):
        return ops.matmul(x * self.scale, self.projection)


@register
class LosesArgument(keras.Layer):
    def __init__(self, units=4, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.factor = factor
        self.dense = keras.layers.Dense(units)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    def call(self, x):
        return self.factor * self.dense(x)


class Unregistered(Faulty):
    def call(self, x):
        return x * self.scale


@register
class Noise(Faulty):
    def call(self, x):
        return x * self.scale + tf.random.normal(tf.shape(x))


@register
class HiddenNoise(Faulty):
    def call(self, x):
        return keras.layers.GaussianNoise.call(self.noise, x * self.scale, training=True)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.noise = keras.layers.GaussianNoise(0.5)


@register
class HardCodedBatch(Faulty):
    def call(self, x):
        return tf.reshape(x * self.scale, (8, 12, 6))


@register
class HardCodedSize(Faulty):
    def call(self, x):
        return tf.reshape(x * self.scale, (-1, 72))


@register
class PrivateImport(Faulty):
    def call(self, x):
        return _private.convert_to_tensor(x) * self.scale


@register
class BatchMean(Faulty):
    def call(self, x):
        return (x - ops.mean(x, axis=0, keepdims=True)) * self.scale


@register
class ToPython(Faulty):
    def call(self, x):
        return x * self.scale * float(x[0, 0, 0])


@register
class Clock(Faulty):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mode = "eager"

    def call(self, x):
        return x * self.scale if tf.executing_eagerly() else x


@register
class FixedBatch(Faulty):
    def call(self, x):
        return ops.zeros((x.shape[0], 12, 6)) + x * self.scale


@register
class PythonArgument(Faulty):
    def call(self, x, step=0):
        return x * self.scale * step


@register
class ComputedOnce(keras.Layer):
    def build(self, input_shape):
        self.frequency = self.add_weight(shape=(input_shape[-1],), initializer="ones")
        self.wave = ops.sin(self.frequency)
        self.built = True

    def call(self, x):
        return x * self.wave


@register
class CutsRegions(Faulty):
    def call(self, x):
        starts = ops.cast(ops.clip(ops.abs(x[:, :, 0]), 0, 1), "int32")
        cut = [x[:, starts[0, i] : starts[0, i] + 3] * self.scale for i in range(6)]
        return ops.stack(cut, axis=1)


@register
class SaysAnotherShape(Faulty):
    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, x):
        return ops.mean(x * self.scale, axis=1)


@register
class ArrayArgument(Faulty):
    def __init__(self, table=None, **kwargs):
        super().__init__(**kwargs)
        self.table = np.ones(6) if table is None else table

    def get_config(self):
        return {**super().get_config(), "table": object}

    def call(self, x):
        return x * self.scale * self.table


@register
class UntrackedWeights(keras.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.kernel = np.random.default_rng().normal(size=(6, 4)).astype("float32")

    def call(self, x):
        return ops.matmul(x, self.kernel)


@register
class Singular(Faulty):
    def call(self, x):
        return tf.linalg.svd(x * self.scale, compute_uv=False)


@register
class Rejects(Faulty):
    def call(self, x):
        return ops.matmul(x, ops.ones((5, 4)))


@register
class FromNowhere(Faulty):
    pass


exec("def call(self, x):\n    return x * self.scale\n", globals())
FromNowhere.call = call  # noqa: F821

# Class, its arguments, and the rules with their severities.
FAULTY = [
    (BatchLoop, {}, {"loop-over-batch": "warning"}),
    (PowerLoop, {}, {"python-loop": "warning"}),
    (ShortLoop, {}, {"python-loop": "info"}),
    (MapFunction, {}, {"dynamic-loop": "warning"}),
    (PythonFunction, {}, {"python-in-graph": "error"}),
    (NumpyInCall, {}, {"numpy-in-call": "error"}),
    (BranchOnTensor, {}, {"control-flow-on-tensor": "error"}),
    (Counting, {}, {"state-in-call": "error"}),
    (Remembering, {}, {"state-in-call": "warning"}),
    (CreatesInCall, {}, {"created-in-call": "error"}),
    (CreatesTwice, {}, {"created-again": "warning"}),
    (PlainVariable, {}, {"tf-variable": "error"}),
    (RandomAttribute, {}, {"random-attribute": "error"}),
    (LosesArgument, {"factor": 3.0}, {"lost-argument": "error"}),
    (LosesArgument, {}, {"lost-argument": "warning"}),
    (Unregistered, {}, {"unregistered": "info"}),
    (Noise, {}, {"random-without-training": "error"}),
    (HiddenNoise, {}, {"random-at-inference": "error"}),
    (HardCodedBatch, {}, {"hard-coded-batch": "error"}),
    (HardCodedSize, {}, {"hard-coded-size": "info"}),
    (PrivateImport, {}, {}),
    (BatchMean, {}, {"batch-dependent": "error"}),
    (ToPython, {}, {"graph-fails": "error", "batch-dependent": "error"}),
    (Clock, {}, {"graph-differs": "error"}),
    (FixedBatch, {}, {"dynamic-batch": "warning"}),
    (PythonArgument, {}, {"retrace": "warning"}),
    (ArrayArgument, {}, {"reload-fails": "error"}),
    (ComputedOnce, {}, {"unused-weight": "warning"}),
    (CutsRegions, {}, {"loop-over-regions": "warning", "batch-dependent": "error"}),
    (SaysAnotherShape, {}, {"wrong-output-shape": "error"}),
    (UntrackedWeights, {}, {"random-attribute": "error"}),
    (Singular, {}, {"tflite-fails": "error"}),
    (Rejects, {}, {"call-fails": "error"}),
    (FromNowhere, {}, {"no-source": "info"}),
]
INPUT_SHAPE = (12, 6)
