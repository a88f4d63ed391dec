"""Folding must not change what a model computes, and must leave nothing foldable behind."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from leankeras.errors import ModelError
from leankeras.quantization.folding import fold


def functional(shape, function):
    inputs = keras.Input(shape)
    return keras.Model(inputs, function(inputs))


def randomized(model):
    """Statistics, scales and shifts unlike those of a fresh BatchNormalization."""
    generator = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(np.asarray(weight) + 0.3 * generator.random(weight.shape))
    return model


def assert_equal(model, folded, shape):
    x = np.random.default_rng(2).normal(size=(3, *shape)).astype("float32")
    wanted = np.asarray(model(x, training=False))
    np.testing.assert_allclose(folded(x), wanted, atol=1e-5 * max(1, np.abs(wanted).max()))


def kinds(model):
    return [type(layer) for layer in model.layers[1:]]


LINEAR = [
    (layers.Conv1D(6, 3, use_bias=False, name="linear"), (9, 4)),
    (layers.Conv1D(6, 3, padding="causal", dilation_rate=2, name="linear"), (9, 4)),
    (layers.Conv2D(6, 3, groups=2, name="linear"), (7, 7, 4)),
    (layers.Conv3D(3, 2, name="linear"), (4, 4, 4, 2)),
    (layers.Conv1DTranspose(6, 3, strides=2, name="linear"), (9, 4)),
    (layers.Conv2DTranspose(5, 3, use_bias=False, name="linear"), (7, 7, 4)),
    (layers.DepthwiseConv1D(3, depth_multiplier=2, name="linear"), (9, 4)),
    (layers.DepthwiseConv2D(3, depth_multiplier=2, name="linear"), (7, 7, 4)),
    (layers.Dense(6, name="linear"), (9, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), LINEAR, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("scale_and_center", [True, False])
def test_normalization_and_relu_vanish_into_the_layer(layer, shape, scale_and_center):
    layer = type(layer).from_config(layer.get_config())
    model = randomized(
        functional(
            shape,
            lambda x: layers.ReLU()(
                layers.BatchNormalization(scale=scale_and_center, center=scale_and_center)(layer(x))
            ),
        )
    )

    folded = fold(model)

    assert kinds(folded) == [type(layer)]
    assert folded.get_layer("linear").activation is keras.activations.relu
    assert_equal(model, folded, shape)


@pytest.mark.parametrize(
    ("layer", "shape", "parts"),
    [
        (
            layers.SeparableConv1D(6, 3, strides=2, depth_multiplier=2),
            (9, 4),
            [layers.DepthwiseConv1D, layers.Conv1D],
        ),
        (
            layers.SeparableConv2D(6, 3, padding="same", dilation_rate=2),
            (9, 9, 4),
            [layers.DepthwiseConv2D, layers.Conv2D],
        ),
    ],
    ids=["1d", "2d"],
)
def test_separable_convolution_becomes_its_parts(layer, shape, parts):
    model = randomized(functional(shape, lambda x: layers.BatchNormalization()(layer(x))))

    folded = fold(model)

    assert kinds(folded) == parts
    assert_equal(model, folded, shape)


def read_twice(x):
    x = layers.Dense(4)(x)
    return layers.Add()([layers.BatchNormalization()(x), x])


def activated(x):
    return layers.BatchNormalization()(layers.Dense(4, activation="tanh")(x))


def over_another_axis(x):
    return layers.BatchNormalization(axis=1)(layers.Conv1D(4, 3)(x))


def shared_layer_normalized_once(x):
    dense = layers.Dense(4)
    return layers.Add()([layers.BatchNormalization()(dense(x)), dense(x)])


def shared_normalization(x):
    normalization = layers.BatchNormalization()
    return layers.Add()([normalization(layers.Dense(4)(x)), normalization(layers.Dense(4)(x))])


def before_the_layer(x):
    return layers.Dense(4)(layers.BatchNormalization()(x))


@pytest.mark.parametrize(
    "network",
    [
        read_twice,
        activated,
        over_another_axis,
        shared_layer_normalized_once,
        shared_normalization,
        before_the_layer,
    ],
)
def test_what_cannot_be_folded_stays(network):
    model = randomized(functional((8, 4), network))

    folded = fold(model)

    assert layers.BatchNormalization in kinds(folded)
    assert_equal(model, folded, (8, 4))


@pytest.mark.parametrize(
    ("relu", "stays"),
    [
        (lambda x: layers.Activation("relu")(x), False),
        (lambda x: ops.relu(x), False),
        (lambda x: layers.ReLU(max_value=6.0)(x), True),
        (lambda x: layers.ReLU(negative_slope=0.1)(x), True),
        (lambda x: ops.tanh(x), True),
    ],
)
def test_only_a_plain_relu_is_taken_in(relu, stays):
    model = randomized(functional((8, 4), lambda x: relu(layers.Conv1D(4, 3)(x))))

    folded = fold(model)

    assert (len(folded.operations) == 3) == stays
    assert_equal(model, folded, (8, 4))


def test_relu_of_an_output_stays_outside():
    inputs = keras.Input((8, 4))
    linear = layers.Conv1D(4, 3)(inputs)
    model = randomized(keras.Model(inputs, [linear, layers.ReLU()(linear)]))

    assert kinds(fold(model)) == [layers.Conv1D, layers.ReLU]


def test_nested_and_shared_models_are_written_out():
    encoder = keras.Sequential(
        [
            keras.Input((8, 4)),
            layers.Conv1D(4, 3, use_bias=False, name="convolution"),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    )
    other = functional((6, 4), lambda x: layers.Conv1D(2, 3, name="convolution")(x))
    inputs = keras.Input((8, 4))
    both = layers.Subtract()([encoder(inputs), encoder(ops.flip(inputs, 1))])
    model = randomized(keras.Model(inputs, other(both)))

    folded = fold(model)

    assert kinds(folded) == [layers.Conv1D, layers.Subtract, layers.Conv1D]
    assert len({layer.name for layer in folded.layers}) == len(folded.layers)
    assert_equal(model, folded, (8, 4))


def test_folded_model_is_a_plain_one_and_the_original_stays(tmp_path):
    model = randomized(
        functional(
            (16, 16, 3),
            lambda x: layers.Dense(2)(
                layers.Flatten()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))
            ),
        )
    )
    model.trainable = False
    before = model.get_weights()
    operations = [operation.name for operation in model.operations]

    folded = fold(model)
    folded.save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")

    assert len(folded.trainable_weights) == 4
    assert_equal(folded, loaded, (16, 16, 3))
    assert [operation.name for operation in model.operations] == operations
    for ours, kept in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, ours)
    assert all(len(layer._inbound_nodes) == 1 for layer in model.layers)


def test_known_architecture_loses_every_normalization():
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, weights=None)

    folded = fold(model)

    assert layers.BatchNormalization not in kinds(folded)
    assert_equal(model, folded, (32, 32, 3))


def test_model_with_broken_weights_is_refused():
    model = functional((8, 4), lambda x: layers.BatchNormalization()(layers.Conv1D(4, 3)(x)))
    model.layers[-1].moving_variance.assign(np.full(4, np.nan))

    with pytest.raises(ModelError, match="computes something else"):
        fold(model)
