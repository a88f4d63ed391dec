"""Which channels are removed: criteria, fractions, scopes, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers

from leankeras import Data, remove_channels
from leankeras.channels.removal import plan_removal
from leankeras.errors import DataError, KoptError, ModelError, ParameterError
from tests.leankeras.channels.channel_models import (
    partly_frozen,
    perturbed,
    plain,
    residual,
    sequential,
)


def test_half_of_each_group_by_layer():
    table = plan_removal(perturbed(residual()), 0.5, scope="layer").table
    assert list(table["channels"]) == [8, 12, 4, 6, 4]
    assert list(table["removed"]) == [4, 6, 2, 3, 0]
    assert table["layers"][0].count("conv2d") == 2
    assert table["frozen because"][4] == "model output"


def test_global_scope_takes_more_where_channels_matter_less():
    model = perturbed(plain())
    first = model.layers[1]
    weights = np.asarray(first.kernel)
    weights[..., :4] *= 1e-3
    first.kernel.assign(weights)
    removal = plan_removal(model, 0.2, scope="global")
    smaller = removal.apply()
    assert smaller.layers[1].filters < 6
    kept = np.asarray(smaller.layers[1].kernel)
    assert np.abs(kept).max(axis=(0, 1, 2)).min() > 1e-2 or kept.shape[-1] > 2


def test_named_fractions_touch_only_their_groups():
    model = perturbed(plain())
    name = model.layers[1].name
    table = plan_removal(model, {name: 0.5}).table.set_index("layers")
    assert table["removed"][name] == 3
    assert table["removed"].sum() == 3


@pytest.mark.parametrize("multiple", [3, 4, 8])
def test_rounding_leaves_multiples(multiple):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(24, 3), layers.Conv2D(40, 3), layers.Flatten()]
    )
    model.add(layers.Dense(4))
    smaller = remove_channels(model, 0.6, round_to=multiple, verbose=0)
    widths = [layer.filters for layer in smaller.layers[:2]]
    assert all(
        width % multiple == 0 or width == full for width, full in zip(widths, (24, 40), strict=True)
    )
    assert widths[0] < 24


def test_layers_to_leave_keep_their_width():
    model = perturbed(plain())
    name = model.layers[1].name
    removal = plan_removal(model, 0.5, leave=[name])
    assert removal.apply().get_layer(name).filters == 6
    assert removal.table.set_index("layers")["frozen because"][name] == "left as asked"


def test_batchnorm_criterion_removes_the_smallest_scales():
    model = perturbed(plain())
    norm = next(x for x in model.layers if isinstance(x, layers.BatchNormalization))
    norm.gamma.assign([0.9, -0.01, 0.8, 0.02, -0.7, 0.03])
    removal = plan_removal(model, 0.5, criterion="batchnorm")
    kept = next(x for x in removal.apply().layers if isinstance(x, layers.BatchNormalization))
    np.testing.assert_allclose(np.asarray(kept.gamma), [0.9, 0.8, -0.7])
    assert "no BatchNormalization" in removal.table["frozen because"][1]


@pytest.mark.parametrize("last", [None, "softmax"])
def test_taylor_keeps_the_channels_the_loss_depends_on(last):
    """Only input 0 tells the classes apart, and only unit 0 reads it."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(256, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(2, activation=last)])
    model.layers[0].kernel.assign(np.diag([0.5, 2, 2, 2]))
    model.layers[1].kernel.assign([[-0.5, 0.5]] + [[0.3, 0.3]] * 3)
    data = Data(x, y, x[:32], y[:32])
    kept = {}
    for criterion in ("norm", "taylor"):
        smaller = remove_channels(model, 0.75, criterion, data, verbose=0)
        kept[criterion] = np.asarray(smaller.layers[0].kernel)[:, 0]
    assert kept["taylor"][0] == 0.5
    assert kept["norm"][0] == 0


def test_table_is_printed_unless_silenced(capsys):
    model = perturbed(plain())
    remove_channels(model, 0.5, verbose=0)
    assert capsys.readouterr().out == ""
    remove_channels(model, 0.5)
    printed = capsys.readouterr().out
    assert "channels to remove in 4 groups" in printed
    assert "model output" in printed


def nan_model():
    model = plain()
    model.layers[1].kernel.assign(np.full(model.layers[1].kernel.shape, np.nan))
    return model


def only_outputs():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def built_subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), "float32"))
    return model


@pytest.mark.parametrize(
    ("build", "arguments", "error", "words"),
    [
        (plain, {"fraction": 1.0}, ParameterError, "to below 1"),
        (plain, {"fraction": -0.1}, ParameterError, "to below 1"),
        (plain, {"fraction": float("nan")}, ParameterError, "to below 1"),
        (plain, {"fraction": "half"}, ParameterError, "expected a number"),
        (plain, {"fraction": {"nowhere": 0.5}}, ModelError, "'nowhere'"),
        (plain, {"criterion": "best"}, ParameterError, "batchnorm"),
        (plain, {"criterion": "taylor"}, DataError, "data="),
        (sequential, {"criterion": "batchnorm"}, ModelError, "no BatchNormalization"),
        (plain, {"scope": "each"}, ParameterError, "global, layer"),
        (plain, {"round_to": 0}, ParameterError, "at least 1"),
        (plain, {"leave": ["nowhere"]}, ModelError, "'nowhere'"),
        (nan_model, {}, ModelError, "NaN"),
        (only_outputs, {}, ModelError, "model output"),
        (Subclassed, {}, ModelError, "not built"),
        (built_subclassed, {}, ModelError, "subclassed"),
        (lambda: keras.Sequential([layers.Dense(3)]), {}, ModelError, "not built"),
    ],
)
def test_bad_input_is_one_clear_line(build, arguments, error, words):
    with pytest.raises(error, match=words) as raised:
        remove_channels(build(), verbose=0, **arguments)
    assert isinstance(raised.value, KoptError)
    assert "\n" not in str(raised.value)


def test_different_fractions_within_a_group_are_refused():
    model = perturbed(residual())
    first, second = plan_removal(model, 0.5).graph.groups[0].layers
    with pytest.raises(ParameterError, match="different fractions"):
        remove_channels(model, {first: 0.5, second: 0.25}, verbose=0)


def test_named_layer_that_is_frozen_is_refused():
    model = perturbed(partly_frozen())
    with pytest.raises(ModelError, match="halve"):
        remove_channels(model, {"before_halve": 0.5}, verbose=0)
