"""What a caller hands in is left exactly as it was, by every public function and when it refuses.

The model has parts that are easily changed: image preprocessing, which defaults to
``training=True`` and then lets the BatchNormalization statistics follow, random layers, a frozen
layer, one in half precision, and a recurrent one that is unrolled for conversion.
"""

import keras
import numpy as np
import pytest
from keras import layers

import leankeras
from leankeras import Data
from leankeras.errors import KoptError


def augmented() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = layers.RandomFlip("horizontal")(layers.Resizing(8, 8)(inputs))
    x = layers.Conv2D(4, 3, padding="same", dtype="mixed_float16", name="conv")(x)
    x = layers.ReLU()(layers.BatchNormalization()(layers.GaussianNoise(0.1)(x)))
    x = layers.Conv2D(3, 3, strides=2, padding="same", trainable=False)(layers.Dropout(0.1)(x))
    pooled = layers.GlobalAveragePooling2D()(x)
    steps = layers.GRU(3)(layers.Reshape((4, 12))(x))
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Concatenate()([pooled, steps])))


@pytest.fixture(scope="module")
def data() -> Data:
    random = np.random.default_rng(0)
    x, y = random.standard_normal((40, 8, 8, 1)).astype("float32"), np.arange(40) % 2
    return Data(x, y, x[:8], y[:8])


def state_of(model: keras.Model) -> list:
    flags = [
        (layer.trainable, layer.dtype_policy.name, getattr(layer, "unroll", None))
        for layer in model._flatten_layers()
    ]
    return [*flags, model.compiled, *(np.array(variable) for variable in model.variables)]


def diagnose(model, data, path):
    leankeras.diagnose(model, data.x_test.shape[1:])


def check_equivalence(model, data, path):
    leankeras.check_equivalence(model, augmented(), data.x_test.shape[1:])


def check_unequal(model, data, path):
    leankeras.check_equivalence(model, model.get_layer("head"), data.x_test.shape[1:])


def compare_latency(model, data, path):
    leankeras.compare_latency({"model": model}, data.x_test[:1])


def compare_on_another_sample(model, data, path):
    leankeras.compare_latency({"model": model}, data.x_test[:1, :3])


def profile_layers(model, data, path):
    leankeras.profile_layers(model, data.x_test[:1])


def to_tf_keras(model, data, path):
    leankeras.to_tf_keras(model)


def prune(model, data, path):
    leankeras.prune(model, data, epochs=1, verbose=0)


def prune_nothing(model, data, path):
    leankeras.prune(model, data, leave=["conv", "none"], verbose=0)


def cluster(model, data, path):
    leankeras.cluster(model, data, clusters=4, epochs=1, verbose=0)


def cluster_nothing(model, data, path):
    leankeras.cluster(model, data, leave=["none"], verbose=0)


def remove_channels(model, data, path):
    leankeras.remove_channels(model, 0.5, "taylor", data, verbose=0)


def remove_unknown_channels(model, data, path):
    leankeras.remove_channels(model, 0.5, "taylor", data, leave=["none"], verbose=0)


def teach(model, data, path):
    leankeras.distill(model, augmented(), data, epochs=1, verbose=0)


def learn(model, data, path):
    leankeras.distill(augmented(), model, data, epochs=1, verbose=0)


def learn_features_that_do_not_fit(model, data, path):
    leankeras.distill(model, model, data, features={"conv": "head"}, verbose=0)


def train_quantized(model, data, path):
    leankeras.train_quantized(model, data, epochs=1, verbose=0)


def train_quantized_on_other_samples(model, data, path):
    other = Data(data.x_train[:, :4], data.y_train, data.x_test[:, :4], data.y_test)
    leankeras.train_quantized(model, other, epochs=1, verbose=0)


def evaluate(model, data, path):
    leankeras.evaluate(model, data.x_test, data.y_test)


def convert(mode):
    def converted(model, data, path):
        leankeras.convert(model, path / "model.tflite", mode, data.x_train)

    converted.__name__ = f"convert_{mode}"
    return converted


def convert_without_calibration(model, data, path):
    leankeras.convert(model, path / "model.tflite", "int8")


WORKS = (
    diagnose, check_equivalence, compare_latency, profile_layers, to_tf_keras, prune, cluster,
    remove_channels, teach, learn, train_quantized, evaluate,
    *map(convert, ("float32", "float16", "dynamic", "int8", "int8-io", "uint8-io")),
)  # fmt: skip
REFUSES = (
    check_unequal, compare_on_another_sample, prune_nothing, cluster_nothing,
    remove_unknown_channels, learn_features_that_do_not_fit, train_quantized_on_other_samples,
    convert_without_calibration, convert("int4"),
)  # fmt: skip


def assert_unchanged(model, before):
    for now, then in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("function", WORKS)
def test_a_model_is_left_as_it_was(function, data, tmp_path):
    model = augmented()
    before = state_of(model)

    function(model, data, tmp_path)

    assert_unchanged(model, before)


@pytest.mark.parametrize("function", REFUSES)
def test_a_model_that_is_refused_is_left_as_it_was(function, data, tmp_path):
    model = augmented()
    before = state_of(model)

    with pytest.raises(KoptError):
        function(model, data, tmp_path)

    assert_unchanged(model, before)


def test_called_bare_the_model_would_have_changed(data):
    model = augmented()
    before = state_of(model)

    model(data.x_test)

    with pytest.raises(AssertionError):
        assert_unchanged(model, before)
