"""Operators with one scale for input and output leave other readers of the input their range."""

import keras
import numpy as np
import pytest

from leankeras.conversion.tflite import convert
from leankeras.conversion.tflite_graph import INT8, TFLiteGraph

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(40, 12, 12, 3)).astype("float32")


def mean(x):
    return layers.GlobalAveragePooling2D()(x)


FORCING = {
    "maximum, linear": (None, lambda h: layers.GlobalMaxPooling2D()(h)),
    "maximum, silu": ("silu", lambda h: layers.GlobalMaxPooling2D()(h)),
    "maximum, gelu": ("gelu", lambda h: layers.GlobalMaxPooling2D()(h)),
    "minimum of all": (None, lambda h: ops.min(h, axis=(1, 2))),
    "max pooling": (None, lambda h: mean(layers.MaxPooling2D(4)(h))),
    "clip": (None, lambda h: mean(ops.clip(h, 0.0, 0.1))),
    "maximum": (None, lambda h: mean(ops.maximum(h, 0.5))),
    "minimum": (None, lambda h: mean(ops.minimum(10.0 * h, 0.5))),
    "where": (None, lambda h: mean(ops.where(h > 0, h, 0.0))),
    "slice": (None, lambda h: mean(h[:, :3, :3])),
    "largest": (None, lambda h: ops.top_k(layers.Flatten()(h), 4)[0]),
}


@pytest.mark.parametrize("kind", FORCING)
def test_the_mean_beside_it_is_right(kind, tmp_path):
    activation, force = FORCING[kind]
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    hidden = layers.Conv2D(8, 3, activation=activation)(inputs)
    # two outputs, since joining them would give both one scale
    outputs = {"forced": force(hidden), "mean": mean(hidden)}
    conversion = convert(keras.Model(inputs, outputs), tmp_path / "a.tflite", "int8", X)
    assert conversion.difference < 0.06
    assert conversion.warning is None
    assert conversion.tensor_types["float32"] == 3  # input and outputs: int8 throughout


def test_a_small_result_beside_a_large_one_keeps_its_steps(tmp_path):
    """A concatenation forces the scale of the widest on all that it joins."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    small = layers.Dense(8, activation="tanh", name="small")(mean(inputs))
    joined = layers.Concatenate()([small, 300.0 * layers.Dense(4)(mean(inputs))])
    outputs = {"joined": layers.Dense(3)(joined), "small": layers.Dense(3)(small)}
    conversion = convert(keras.Model(inputs, outputs), tmp_path / "a.tflite", "int8", X)
    assert conversion.difference < 0.06


def test_slices_of_a_maximum_may_be_far_narrower_than_it(tmp_path):
    """A slice has the scale of what it is cut from, so its own range cannot be asked for."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    pooled = layers.MaxPooling2D(2)(layers.ReLU()(inputs * np.float32([1.0, 0.1, 0.01])))
    parts = [pooled[..., channel : channel + 1] for channel in range(3)]
    gated = [part * layers.Conv2D(1, 3, padding="same")(part) for part in parts]
    model = keras.Model(inputs, layers.Dense(3)(mean(layers.Concatenate()(gated))))
    conversion = convert(model, tmp_path / "a.tflite", "int8", X)
    assert conversion.difference < 0.06
    assert conversion.tensor_types["float32"] == 2


def test_calibration_is_not_fooled_by_results_written_over_their_input(tmp_path):
    """The product takes the memory of the small factor, whose range it would be taken for."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    small = layers.Dense(4, activation="relu", name="small")(inputs)
    large = layers.Dense(4, name="large")(1000.0 * inputs)
    outputs = layers.Dense(3)(mean(small * large))
    conversion = convert(keras.Model(inputs, outputs, name="net"), tmp_path / "a.tflite", "int8", X)
    assert conversion.difference < 0.05
    reference = np.asarray(small_values(inputs, small))
    file = TFLiteGraph(conversion.path.read_bytes())
    scales = [
        float(tensor.quantization.scale[0])
        for tensor in file.tensors
        if b"net/small" in tensor.name and tensor.type == INT8 and len(tensor.shape) > 2
    ]
    assert max(scales) == pytest.approx(reference.max() / 255, rel=0.1)


def small_values(inputs, small):
    return keras.Model(inputs, small)(X)
