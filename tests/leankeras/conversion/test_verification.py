"""No wrong file is returned without a warning, and the advice in warnings has been tested."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.conversion.tflite import convert
from leankeras.errors import ConversionError, ParameterError
from leankeras.modes import MODES
from leankeras.runtime import LiteRTModel

layers, ops = keras.layers, keras.ops
random = np.random.default_rng(0)
X = random.normal(size=(40, 8)).astype("float32")


class Unit(layers.Layer):
    """Normalizes over all axes, which the converter takes for the last one."""

    def call(self, x):
        return tf.math.l2_normalize(x)


def unit():
    inputs = keras.Input((3, 4))
    hidden = layers.Dense(4, activation="relu", name="first")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(Unit(name="unit")(hidden)), name="net")


@pytest.mark.parametrize("mode", MODES)
def test_a_converter_that_changes_the_function_is_found_out(mode, tmp_path):
    keras.utils.set_random_seed(0)
    x = random.normal(size=(40, 3, 4)).astype("float32")
    with pytest.raises(ConversionError) as refused:
        convert(unit(), tmp_path / "a.tflite", mode, x)
    assert "was tried and comes" not in str(refused.value)
    if mode != "int16x8":  # which has no such operator
        assert f"the {mode} file is wrong" in str(refused.value)
        assert "the converter changes what layer 'unit' computes" in str(refused.value)
    assert not (tmp_path / "a.tflite").exists()


@pytest.mark.parametrize("mode", ["dynamic", "int8"])
def test_so_is_one_whose_change_is_no_larger_than_rounding_may_be(mode, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3, 4))
    outputs = layers.Add()([layers.Dense(2)(inputs), 3.0 * layers.Dense(2)(Unit()(inputs))])
    x = random.normal(size=(40, 3, 4)).astype("float32")
    with pytest.raises(
        ConversionError, match=r"file is wrong: .* [1-7]\d % off .*converter changes"
    ):
        convert(keras.Model(inputs, outputs), tmp_path / "a.tflite", mode, x)


@pytest.fixture(scope="module")
def far_from_zero():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    normalize = layers.Normalization(mean=[1e5] * 4, variance=[100.0] * 4, name="normalize")
    model = keras.Model(inputs, layers.Dense(1, name="head")(normalize(inputs)), name="net")
    return model, (1e5 + 10 * random.normal(size=(40, 4))).astype("float32")


CURES = {
    "float16": "mode 'float32' was tried and comes within",
    "int8": "keep_float=['normalize'] was tried and comes within",
    "int8-io": "mode 'int8' with keep_float=['normalize'] was tried and comes within",
}


@pytest.mark.parametrize("mode", MODES)
def test_a_mean_of_a_hundred_thousand(mode, far_from_zero, tmp_path):
    model, x = far_from_zero
    if mode in CURES:
        with pytest.raises(ConversionError, match="layer 'normalize'") as refused:
            convert(model, tmp_path / "a.tflite", mode, x)
        assert CURES[mode] in str(refused.value)
    elif mode in ("float32", "dynamic"):
        conversion = convert(model, tmp_path / "a.tflite", mode, x)
        assert (conversion.warning, conversion.difference < 1e-3) == (None, True)


def test_advice_that_does_not_help_is_not_given(far_from_zero, tmp_path):
    """What int8 leaves in float is not what is wrong with the output."""
    whole, x = far_from_zero
    model = keras.Model(whole.input, ops.floor(20.0 * whole.output), name="net")
    with pytest.raises(ConversionError, match="FLOOR of layer 'Floor'") as refused:
        convert(model, tmp_path / "a.tflite", "int8", x)
    assert "keep_float=['Floor'] was tried and comes" not in str(refused.value)
    assert "mode 'float16' was tried and comes" not in str(refused.value)
    assert "mode 'float32' was tried and comes within" in str(refused.value)


def boxes_and_scores():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    hidden = layers.Dense(16, activation="relu")(inputs)
    boxes = layers.Rescaling(650.0)(layers.Dense(4, activation="sigmoid")(hidden))
    scores = layers.Dense(3, activation="sigmoid", name="scores")(hidden)
    return keras.Model(inputs, layers.Concatenate(name="joined")([boxes, scores]), name="net")


def test_advice_is_tried_on_every_part_of_the_output(tmp_path):
    model = boxes_and_scores()
    with pytest.raises(ConversionError, match="channels 4 to 6 of the output are") as refused:
        convert(model, tmp_path / "a.tflite", "int8", X)
    (advised,) = re.findall(r"keep_float=\[(.*?)\] was tried and comes", str(refused.value))
    kept = [name.strip("' ") for name in advised.split(",")]
    conversion = convert(model, tmp_path / "a.tflite", "int8", X, keep_float=kept)
    apart = np.abs(LiteRTModel(conversion.path)(X) - np.asarray(model(X)))
    assert apart[:, 4:].max() < 0.05
    assert conversion.warning is None


def test_outputs_of_unlike_size_are_each_right(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    hidden = layers.Dense(16, activation="relu")(inputs)
    outputs = {"large": 1e4 * layers.Dense(3)(hidden), "small": layers.Dense(3)(hidden)}
    model = keras.Model(inputs, outputs)
    conversion = convert(model, tmp_path / "a.tflite", "int8", X)
    got, expected = LiteRTModel(conversion.path)(X), model(X)
    for name in outputs:
        exact = np.asarray(expected[name])
        apart = np.sqrt(np.mean((got[name] - exact) ** 2) / np.mean(exact**2))
        assert apart < 0.05
        assert apart <= conversion.difference * 1.01
    assert conversion.warning is None


def test_units_mixed_in_one_layer_are_told(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    outputs = layers.Rescaling([1e4, 20.0, 0.1])(layers.Dense(3, name="units")(inputs))
    conversion = convert(keras.Model(inputs, outputs, name="net"), tmp_path / "a.tflite", "int8", X)
    assert "channels 1, 2 of the output are the same for every sample" in conversion.warning
    assert "was tried and comes within" in conversion.warning
    assert "warning: " in str(conversion)


@pytest.mark.parametrize("factor", [0.0, 1e-8])
def test_a_channel_of_nothing_is_no_reason_to_complain(factor, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4)])
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel * [1, factor, 1, 1], bias])
    for mode in ("float16", "int8", "int8-io"):
        assert convert(model, tmp_path / "a.tflite", mode, X).warning is None


def test_a_constant_where_the_model_varies_is_refused(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    outputs = 10.0 * layers.Dense(1)(inputs) + 1e5
    with pytest.raises(ConversionError, match="the output is the same for every sample"):
        convert(keras.Model(inputs, outputs), tmp_path / "a.tflite", "int8", X)


class UnitLength(layers.Layer):
    def call(self, x):
        return tf.math.l2_normalize(x, axis=-1)


@pytest.mark.parametrize("layer", [UnitLength, layers.UnitNormalization])
@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_vectors_of_zero_length_stay_so_or_are_told(layer, mode, tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layer(name="unit")(inputs), name="net")
    x = X.copy()
    x[7] = 0
    try:
        conversion = convert(model, tmp_path / "a.tflite", mode, x)
    except ConversionError as error:
        assert "layer 'unit'" in str(error)  # noqa: PT017
    else:
        assert np.abs(LiteRTModel(conversion.path)(x)[7]).max() < 0.01


def narrow_and_wide():
    """Evaluation samples, of which a few lie far outside of what calibrates."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, activation="relu")])
    evaluation = random.normal(size=(300, 8)).astype("float32")
    evaluation[::100] *= 12
    return model, evaluation


def test_all_samples_are_compared(tmp_path):
    model, evaluation = narrow_and_wide()
    alone = convert(model, tmp_path / "a.tflite", "int8", X)
    both = convert(model, tmp_path / "a.tflite", "int8", X, evaluation=evaluation)
    exact = np.asarray(model(evaluation))
    apart = np.abs(LiteRTModel(both.path)(evaluation) - exact)
    assert both.max_abs_diff <= apart.max() * 1.001
    # a machine under load may not finish them
    assert 40 < both.checked_samples <= 340
    assert f"on {both.checked_samples} samples" in str(both)
    if both.checked_samples == 340:
        assert both.max_abs_diff == pytest.approx(apart.max(), rel=1e-3)
        assert both.max_abs_diff > 5 * alone.max_abs_diff


def test_labels_are_scored(tmp_path):
    model, _ = narrow_and_wide()
    labels = np.asarray(model(X)).argmax(axis=-1)
    options = {"evaluation": X, "labels": labels}
    conversion = convert(model, tmp_path / "a.tflite", "int8", X, **options)
    assert conversion.score.model == 1
    assert conversion.score.file > 0.9
    assert "accuracy" in str(conversion)
    with pytest.raises(ParameterError, match="labels without samples"):
        convert(model, tmp_path / "a.tflite", "int8", X, labels=labels)
    with pytest.raises(ParameterError, match="the outputs are output"):
        convert(model, tmp_path / "a.tflite", "int8", X, evaluation=X, labels={"class": labels})


def test_a_score_that_falls_is_told(tmp_path):
    """Classes that lie closer together than a step of int8."""
    inputs = keras.Input((1,))
    outputs = layers.Concatenate()([inputs, 100 * inputs + 0.05])
    shifted = layers.Dense(2, use_bias=False, name="head")(outputs)
    model = keras.Model(inputs, shifted)
    model.get_layer("head").set_weights([np.float32([[101, 0], [0, 1]])])
    x = np.linspace(-1, 1, 100, dtype="float32")[:, None]
    labels = np.asarray(model(x)).argmax(axis=-1)
    with pytest.raises(ConversionError, match=r"wrong: accuracy [78].* the model's 100.0 % on "):
        convert(model, tmp_path / "a.tflite", "int8", x, evaluation=x, labels=labels)


class Wide(layers.Layer):
    def call(self, x):
        return tf.cast(tf.sin(tf.cast(x, "float64")), "float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda h: ops.argmax(h, -1), "keras.ops.argmax and argmin .* tf.argmax"),
        (lambda h: layers.Dense(2)(h / np.sqrt(8.0)), "layer truediv computes in float64"),
        (lambda h: layers.Dense(2)(Wide(name="wide")(h)), "layer wide computes in float64"),
    ],
)
@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_refusals_name_the_layer_and_the_cause(make, message, mode, tmp_path):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, make(layers.Dense(8, name="first")(inputs)), name="net")
    with pytest.raises(ConversionError, match=message):
        convert(model, tmp_path / "a.tflite", mode, X)


class Silent:
    """A quantization-aware model with a range of next to nothing, as a dead layer leaves one."""

    def export(self, directory):
        kernel = tf.Variable(np.abs(random.normal(size=(8, 4))).astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
        def serve(x):
            quantize = tf.quantization.fake_quant_with_min_max_args
            x = quantize(x, -4.0, 4.0)
            hidden = x @ quantize(kernel, -2.0, 2.0, narrow_range=True)
            hidden = quantize(tf.nn.relu(tf.nn.bias_add(hidden, tf.fill([4], -200.0))), 0.0, 2e-6)
            last = quantize(kernel[:4], -2.0, 2.0, narrow_range=True)
            return {"output": quantize(hidden @ last, -16.0, 16.0)}

        holder = tf.Module()
        holder.weights, holder.serve = kernel, serve
        tf.saved_model.save(holder, directory, {"serving_default": serve.get_concrete_function()})


def test_a_range_that_xnnpack_refuses_is_named(tmp_path):
    with pytest.raises(ConversionError, match=r"XNNPACK refuses the result of FULLY_CONNECTED"):
        convert(Silent(), tmp_path / "a.tflite", "int8")
