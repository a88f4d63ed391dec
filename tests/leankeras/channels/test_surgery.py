"""The smaller model against the masked one, and every reason for a channel to stay."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from leankeras import remove_channels
from leankeras.channels.removal import plan_removal
from leankeras.errors import ModelError
from tests.leankeras.channels.channel_models import (
    EVERY_KIND,
    Gate,
    Halve,
    assert_same_outputs,
    inputs_for,
    outputs_of,
    partly_frozen,
    perturbed,
)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("build", EVERY_KIND)
def test_smaller_model_equals_masked_one_and_survives_saving(build, scope, tmp_path):
    model = perturbed(build())
    before, inputs = model.get_weights(), inputs_for(model)
    unchanged = outputs_of(model, inputs)

    removal = plan_removal(model, 0.5, scope=scope)
    smaller, masked = removal.apply(), removal.mask()

    assert smaller.count_params() < model.count_params() == masked.count_params()
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]
    assert_same_outputs(masked, smaller, inputs)
    assert not np.allclose(outputs_of(masked, inputs)[0], unchanged[0], atol=1e-3)

    smaller.save(tmp_path / "smaller.keras")
    loaded = keras.models.load_model(tmp_path / "smaller.keras", {"Halve": Halve, "Gate": Gate})
    assert_same_outputs(smaller, loaded, inputs)

    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras", {"Halve": Halve, "Gate": Gate})
    for left, right in zip(unchanged, outputs_of(model, inputs), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("build", [build for build in EVERY_KIND if build is not partly_frozen])
def test_only_outputs_are_frozen(build):
    assert set(plan_removal(build(), 0.5).table["frozen because"]) <= {"", "model output"}


@pytest.mark.parametrize("build", EVERY_KIND)
def test_removing_nothing_gives_the_same_function(build):
    model = perturbed(build())
    removal = plan_removal(model, 0.0)
    inputs = inputs_for(model)
    assert removal.table["removed"].sum() == 0
    assert_same_outputs(model, removal.apply(), inputs)
    assert_same_outputs(model, removal.mask(), inputs)


@pytest.mark.parametrize("build", EVERY_KIND)
def test_every_layer_stays_alive_at_the_highest_fraction(build):
    model = perturbed(build())
    removal = plan_removal(model, 0.99)
    smaller = removal.apply()
    assert all(0 not in weight.shape for weight in smaller.weights)
    assert_same_outputs(removal.mask(), smaller, inputs_for(model))


def test_known_architecture_loses_half_its_channels():
    """Others, with latencies, are in benchmarks/channel_removal.py."""
    model = perturbed(
        keras.applications.MobileNetV3Small(
            input_shape=(32, 32, 3), weights=None, classes=5, classifier_activation=None
        )
    )
    removal = plan_removal(model, 0.5, scope="layer")
    smaller = removal.apply()
    table = removal.table.set_index("layers")
    assert (table.drop("logits")["removed"] == table.drop("logits")["channels"] // 2).all()
    assert smaller.count_params() < 0.35 * model.count_params()
    assert_same_outputs(removal.mask(), smaller, inputs_for(model))


def mixing_models():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="made")(inputs)
    yield "halve (Halve)", Halve(name="halve")(x)
    yield "(Mean) cannot", x * ops.mean(x, axis=-1, keepdims=True)
    yield "softmax", layers.Conv2D(8, 1, name="made2")(layers.Softmax()(x))
    yield "activation of made3", layers.Conv2D(4, 1, activation="softmax", name="made3")(inputs)
    shuffled = layers.Permute((1, 2, 4, 3))(layers.Reshape((6, 6, 2, 4))(x))
    yield "Reshape", layers.Reshape((6, 6, 8))(shuffled)
    yield "MultiHeadAttention", layers.MultiHeadAttention(2, 4)(x, x)
    yield "GroupNormalization", layers.GroupNormalization(2)(x)
    yield "channels that are fixed", layers.Add()([layers.Conv2D(3, 1)(inputs), inputs])
    yield "(TrueDivide) cannot", layers.Conv2D(8, 3)(inputs) / (x * x + 1.0)
    yield "joins it with", x * np.arange(8, dtype="float32")
    yield "LSTM", layers.LSTM(4)(layers.Reshape((36, 8))(x))


@pytest.mark.parametrize("index", range(11))
def test_what_cannot_be_followed_is_frozen_and_says_so(index):
    reason, tensor = list(mixing_models())[index]
    inputs = tensor
    while inputs._keras_history.operation._inbound_nodes[0].input_tensors:
        inputs = inputs._keras_history.operation._inbound_nodes[0].input_tensors[0]
    x = layers.Dense(6, activation="relu", name="free")(layers.Flatten()(tensor))
    model = perturbed(keras.Model(inputs, layers.Dense(2)(x)))
    removal = plan_removal(model, 0.5)
    table = removal.table.set_index("layers")
    assert reason in " ".join(table["frozen because"])
    assert table["removed"]["free"] > 0
    assert_same_outputs(removal.mask(), removal.apply(), inputs_for(model))


@pytest.mark.parametrize("axes", [(0, None), (1,), (1, None, None)])
def test_layer_that_explains_itself_wrongly_is_refused(axes):
    inputs = keras.Input((6, 6, 3))
    x = layers.Flatten()(Gate(axes)(layers.Conv2D(8, 3)(inputs)))
    model = keras.Model(inputs, layers.Dense(4)(x))
    with pytest.raises(ModelError, match="of size 8 on which the channels lie"):
        remove_channels(model, verbose=0)
