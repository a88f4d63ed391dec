"""Every kind of layer a channel can pass through, and every reason for which one has to stay."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kopt import Data, remove_channels
from kopt.compression.channels import plan_removal
from kopt.errors import DataError, KoptError, ModelError, ParameterError


class Halve(layers.Layer):
    """A user's layer, which nothing is known about."""

    def call(self, inputs):
        return inputs * 0.5


class Gate(layers.Layer):
    """A user's layer that treats every channel by itself, and says so."""

    def __init__(self, axes=(1, None), **kwargs):
        super().__init__(**kwargs)
        self.axes = tuple(axes)

    def build(self, input_shape):
        self.slope = self.add_weight(shape=(1, input_shape[-1]), initializer="ones", name="slope")
        self.shift = self.add_weight(shape=(), name="shift")

    def call(self, inputs):
        return inputs * ops.sigmoid(inputs * self.slope + self.shift)

    def channel_axes(self):
        return self.axes

    def get_config(self):
        return {**super().get_config(), "axes": self.axes}


def perturbed(model, seed=0):
    """Weights unlike those of a fresh model, whose biases and BatchNorm statistics hide errors."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        values = np.asarray(weight)
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, values.shape))
        elif np.issubdtype(values.dtype, np.floating):
            weight.assign(values + generator.normal(0, 0.1, values.shape))
    return model


def plain():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(2)(layers.Conv2D(8, 3, activation="sigmoid")(x))
    x = layers.Dense(10, activation="gelu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Dropout(0.1)(x)))


def residual():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    y = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same")(x))
    y = layers.Conv2D(8, 3, padding="same")(layers.LeakyReLU()(y))
    x = layers.Add()([x, y])
    x = layers.Concatenate()([x, layers.Conv2D(4, 1)(x)])
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def grouped():
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(12, 3, groups=2)(inputs)
    x = layers.Conv2D(8, 3, groups=4)(layers.PReLU(shared_axes=[1, 2])(x))
    x = layers.Conv2D(16, 1, groups=8)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalMaxPooling2D()(x)))


def depthwise():
    inputs = keras.Input((8, 8, 4))
    x = layers.DepthwiseConv2D(3)(inputs)
    x = layers.Conv2D(6, 1)(layers.PReLU()(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=3, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def encoder_decoder():
    inputs = keras.Input((8, 8, 3))
    wide = layers.Conv2D(6, 3, padding="same")(inputs)
    deep = layers.AveragePooling2D(2)(layers.Conv2D(8, 3, padding="same")(wide))
    up = layers.Conv2DTranspose(6, 3, strides=2, padding="same")(deep)
    also = layers.UpSampling2D()(layers.ZeroPadding2D(1)(layers.Cropping2D(1)(deep)))
    x = layers.Concatenate()([wide, up, also, inputs])
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


def squeeze_and_excite():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3)(inputs)
    squeezed = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    squeezed = layers.Conv2D(8, 1, activation="hard_sigmoid")(
        layers.Conv2D(4, 1, activation="silu")(squeezed)
    )
    x = layers.Multiply()([x, squeezed])
    spatial = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    x = layers.Multiply()([x, spatial])
    return keras.Model(inputs, layers.Dense(4)(layers.Reshape((-1,))(x)))


def operations():
    inputs = keras.Input((8, 8, 3))
    x = ops.relu(layers.Conv2D(8, 3)(inputs)) * 2.0 + 1.0
    gate = ops.expand_dims(ops.expand_dims(ops.mean(x, axis=[1, 2]), 1), 1)
    x = ops.multiply(x, layers.Dense(8, activation="sigmoid")(gate)) / 3.0
    x = ops.reshape(x, (-1, 36, 8))
    x = ops.transpose(ops.transpose(x, (0, 2, 1)), (0, 2, 1))
    x = ops.concatenate([x, layers.Dense(6)(x)], axis=-1)
    x = ops.squeeze(ops.max(x, axis=1, keepdims=True), 1)
    return keras.Model(inputs, layers.Dense(4)(x))


def normalized():
    inputs = keras.Input((16, 6))
    x = layers.Conv1D(8, 3)(inputs)
    y = layers.Dense(12, activation="gelu")(layers.LayerNormalization()(x))
    x = x + layers.Dense(8)(y)
    x = layers.LayerNormalization(center=False, epsilon=0.1)(x)
    x = layers.SeparableConv1D(6, 3)(layers.DepthwiseConv1D(3)(x))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


def sequential():
    return keras.Sequential(
        [
            keras.Input((12, 5)),
            layers.Conv1D(8, 3),
            layers.Permute((2, 1)),
            layers.Permute((2, 1)),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
            layers.RepeatVector(3),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


def nested():
    features = keras.Input((6, 6, 8))
    x = layers.Conv2D(8, 3, padding="same", name="inner")(features)
    block = keras.Model(features, layers.Add()([features, x]), name="block")
    inputs = keras.Input((6, 6, 3))
    x = block(block(layers.Conv2D(8, 1)(inputs)))
    head = keras.Sequential([keras.Input((8,)), layers.Dense(6), layers.Dense(4)], name="head")
    return keras.Model(inputs, head(layers.GlobalAveragePooling2D()(x)))


def shared_and_dict():
    left, right = keras.Input((6, 6, 2), name="left"), keras.Input((6, 6, 2), name="right")
    shared = layers.Conv2D(8, 3, name="shared")
    x = layers.Subtract()([shared(left), shared(right)])
    outputs = {
        "score": layers.Dense(3, name="score")(layers.Flatten()(x)),
        "map": layers.Conv2D(1, 1, name="map")(x),
    }
    return keras.Model({"left": left, "right": right}, outputs)


def partly_frozen():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    y = Halve(name="halve")(layers.Conv2D(8, 1, name="before_halve")(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(y)))


def self_explaining():
    inputs = keras.Input((6, 6, 3))
    x = Gate(name="gate")(layers.Conv2D(8, 3, name="before_gate")(inputs))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


EVERY_KIND = [
    self_explaining,
    plain,
    residual,
    grouped,
    depthwise,
    encoder_decoder,
    squeeze_and_excite,
    operations,
    normalized,
    sequential,
    nested,
    shared_and_dict,
    partly_frozen,
]


def inputs_for(model, seed=1):
    generator = np.random.default_rng(seed)
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(
        lambda tensor: generator.normal(size=(3, *tensor.shape[1:])).astype("float32"), structure
    )


def outputs_of(model, inputs):
    return [np.asarray(x) for x in keras.tree.flatten(model(inputs, training=False))]


def assert_same_outputs(one, other, inputs):
    for left, right in zip(outputs_of(one, inputs), outputs_of(other, inputs), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


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
