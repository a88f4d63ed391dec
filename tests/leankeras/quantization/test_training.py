"""What counts is the int8 file: its tensors, its scales, its zeros and its answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import leankeras
from kopt.project import DATA
from leankeras import Data, train_quantized
from leankeras.errors import DataError, ModelError, ParameterError
from leankeras.quantization.ranges import FollowedRange
from leankeras.quantization.training import QuantizedModel, quantization_coverage
from leankeras.runtime.litert import LiteRTModel
from leankeras.training import fit


@keras.saving.register_keras_serializable("test_quantization")
class Mix(layers.Layer):
    """A user's layer: a filter loop written with TensorFlow."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(3, input_shape[-1], self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), name="bias", initializer="zeros")

    def call(self, inputs):
        maps = [
            tf.nn.conv1d(inputs, self.kernel[..., i : i + 1], 1, "SAME")
            for i in range(self.filters)
        ]
        return tf.nn.relu(tf.concat(maps, -1) + self.bias)


def functional(shape, function, classes=3):
    inputs = keras.Input(shape)
    x = function(inputs)
    for pooling in {3: [layers.GlobalAveragePooling1D], 4: [layers.GlobalAveragePooling2D]}.get(
        len(x.shape), []
    ):
        x = pooling()(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="model")


def convolutions(x):
    for number, width in enumerate((16, 24), 1):
        x = layers.Conv1D(width, 5, padding="same", name=f"conv_{number}")(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling1D(2)(x)
    return x


@pytest.fixture(scope="module")
def watch():
    data = Data.load(DATA / "watch.npz")
    return Data(
        data.x_train.astype("float32"),
        data.y_train.astype("int64"),
        data.x_test[:600].astype("float32"),
        data.y_test[:600].astype("int64"),
    )


@pytest.fixture(scope="module")
def trained(watch):
    """The network every claim below is about, trained for eight epochs."""
    keras.utils.set_random_seed(0)
    normalization = layers.Normalization()
    normalization.adapt(watch.x_train)
    model = functional((128, 6), lambda x: convolutions(normalization(x)), watch.classes)
    fit(model, watch, 8, learning_rate=3e-3)
    return model


@pytest.fixture(scope="module")
def patterns():
    """Three classes: which of three channels has the largest mean."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 192)
    x = generator.normal(size=(192, 16, 3)).astype("float32")
    x[np.arange(192), :, y] += 1.0
    return Data(x[:128], y[:128], x[128:], y[128:])


def kernels(path):
    """Integer kernels of a file that have more than one scale, with the number of their scales."""
    interpreter = LiteRTModel(path, xnnpack=False).interpreter
    per_channel = [
        (details["index"], len(details["quantization_parameters"]["scales"]))
        for details in interpreter.get_tensor_details()
        if details["dtype"] == np.int8
    ]
    return [(interpreter.get_tensor(index), count) for index, count in per_channel if count > 1]


def accuracy(outputs, data):
    return (np.asarray(outputs).argmax(axis=1) == data.y_test).mean()


def agreement(one, other):
    return (np.asarray(one).argmax(axis=1) == np.asarray(other).argmax(axis=1)).mean()


def test_quantized_network_is_as_good_as_the_float_one_and_its_file_agrees(
    trained, watch, tmp_path
):
    before = trained.get_weights()
    plain = leankeras.convert(trained, tmp_path / "plain.tflite", "int8", watch.x_train[:200])

    quantized = train_quantized(trained, watch, epochs=2, verbose=0)
    aware = leankeras.convert(quantized, tmp_path / "aware.tflite", "int8", watch.x_train[:200])

    simulated = quantized(watch.x_test)
    deployed = LiteRTModel(aware.path)(watch.x_test)
    post_training = LiteRTModel(plain.path)(watch.x_test)
    assert accuracy(trained(watch.x_test), watch) > 0.6
    # Two in a hundred is what 600 samples can tell apart.
    assert accuracy(deployed, watch) >= accuracy(post_training, watch) - 0.02
    assert agreement(simulated, deployed) > 0.97
    assert agreement(quantized.model(watch.x_test), deployed) > 0.9
    for ours, kept in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, ours)


def test_file_of_a_native_network_is_integer_fused_and_per_channel(trained, watch, tmp_path):
    quantized = train_quantized(trained, watch, epochs=0, verbose=0)

    aware = leankeras.convert(quantized, tmp_path / "aware.tflite", "int8", watch.x_train[:200])

    assert aware.tensor_types["float32"] == 2  # what goes in and what comes out
    operators = list(aware.operators["operator"])
    assert operators.count("CONV_2D") == 2
    assert "RELU" not in operators
    assert operators.count("QUANTIZE") == operators.count("DEQUANTIZE") == 1
    assert [scales for _, scales in kernels(aware.path)] == [16, 24]


def mixed(x):
    x = layers.Conv1D(6, 3, padding="same", use_bias=False)(Mix(6)(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.LayerNormalization()(x + ops.mean(x, 1, keepdims=True))
    return layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)])


def recurrent(x):
    steps = layers.AveragePooling1D(4)(x)
    # with dropout, whose state a file cannot hold
    steps = layers.GRU(6, return_sequences=True, dropout=0.1)(steps)
    return layers.Bidirectional(layers.LSTM(6))(steps)


def images(x):
    x = layers.Reshape((8, 6, 1))(x)
    wide = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
    deep = layers.SeparableConv2D(4, 3, padding="same", activation="silu")(x)
    return layers.MaxPooling2D()(layers.Concatenate()([wide, deep]))


def siamese(x):
    encoder = keras.Sequential(
        [keras.Input((16, 3)), layers.Conv1D(6, 3), layers.BatchNormalization(), layers.ReLU()]
    )
    return layers.Add()([encoder(x), encoder(ops.flip(x, 1))])


def one_dimensional(x):
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="tanh")(x)
    x = layers.DepthwiseConv1D(3, strides=2, padding="same")(layers.Dropout(0.1)(x))
    return layers.Conv1D(5, 3, strides=2, activation="relu")(layers.ZeroPadding1D(1)(x))


@pytest.mark.parametrize("network", [mixed, recurrent, images, siamese, one_dimensional])
def test_no_float_tensor_is_left_inside(network, patterns, tmp_path):
    keras.utils.set_random_seed(0)
    model = functional((16, 3), network)
    fit(model, patterns, 9, learning_rate=1e-2, batch_size=16)

    quantized = train_quantized(model, patterns, epochs=1, verbose=0)
    aware = leankeras.convert(quantized, tmp_path / "aware.tflite", "int8", patterns.x_train)

    deployed = LiteRTModel(aware.path)(patterns.x_test)
    simulated = quantized(patterns.x_test)
    quantized.model.save(tmp_path / "float.keras")
    loaded = keras.models.load_model(tmp_path / "float.keras")
    assert aware.tensor_types["float32"] == 2  # what goes in and what comes out
    assert accuracy(model(patterns.x_test), patterns) > 0.6
    assert agreement(simulated, deployed) > 0.9
    assert agreement(loaded(patterns.x_test), deployed) > 0.9
    assert accuracy(deployed, patterns) > accuracy(model(patterns.x_test), patterns) - 0.05


def bounded(x):
    x = layers.Reshape((8, 6, 1))(x)
    for _ in range(3):
        x = layers.Conv2D(6, 3, padding="same")(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    return x


def residual(x):
    first = layers.Conv1D(6, 3, padding="same", activation="relu")(x)
    second = layers.Conv1D(6, 3, padding="same")(first)
    return layers.ReLU()(layers.Add()([first, second]))


@pytest.mark.parametrize("network", [bounded, residual])
def test_training_simulates_what_the_file_computes(network, patterns, tmp_path):
    keras.utils.set_random_seed(0)
    quantized = train_quantized(functional((16, 3), network), patterns, epochs=0, verbose=0)
    aware = leankeras.convert(quantized, tmp_path / "aware.tflite", "int8", patterns.x_train)

    deployed = LiteRTModel(aware.path)(patterns.x_test)

    steps = np.unique(deployed)
    # Equal up to one step of the output's scale, since sums on a border may round either way.
    assert np.abs(deployed - quantized(patterns.x_test)).max() < 1.01 * np.diff(steps).max()
    assert "RELU6" not in list(aware.operators["operator"])


def sparse_and_clustered(model, levels=8):
    """A copy with 60 % zeros and few different weights in its convolutions."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if isinstance(layer, layers.Conv1D):
            kernel, bias = layer.get_weights()
            step = np.abs(kernel).max() / levels
            kernel = np.round(kernel / step) * step
            kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.6)] = 0
            layer.set_weights([kernel, bias])
    return copy


@pytest.mark.parametrize("preserve", ["sparsity", "clusters", "both"])
def test_what_was_gained_before_is_preserved(preserve, patterns, tmp_path):
    keras.utils.set_random_seed(0)
    model = functional((16, 3), convolutions)
    fit(model, patterns, 3, learning_rate=1e-2)
    model = sparse_and_clustered(model)

    quantized = train_quantized(model, patterns, epochs=2, preserve=preserve, verbose=0)

    kept = quantized.kept.set_index("layer").loc[["conv_1", "conv_2"]]
    assert (kept["sparsity"] > 0.4).all()
    if preserve in ("sparsity", "both"):
        assert (kept["zeros_kept"] >= 0.99).all()
        aware = leankeras.convert(quantized, tmp_path / "aware.tflite", "int8", patterns.x_train)
        for (kernel, _), sparsity in zip(kernels(aware.path), kept["sparsity"], strict=True):
            assert (kernel == 0).mean() >= 0.99 * sparsity
    if preserve in ("clusters", "both"):
        assert (kept["distinct_after"] <= kept["distinct_before"]).all()
    for name in ("conv_1", "conv_2"):
        # They moved, so keeping the zeros is not trivial.
        folded = quantized.model.get_layer(name).kernel
        assert np.any(np.asarray(folded) != np.asarray(model.get_layer(name).kernel))


def test_unpreserved_zeros_are_lost(patterns):
    keras.utils.set_random_seed(0)
    model = sparse_and_clustered(functional((16, 3), convolutions))

    quantized = train_quantized(model, patterns, epochs=1, verbose=0)

    assert quantized.kept is None
    assert (quantized.model.get_layer("conv_2").kernel.numpy() == 0).mean() < 0.1


def test_coverage_names_every_layer_and_is_shown_first(patterns, capsys):
    model = functional((16, 3), mixed)

    coverage = quantization_coverage(model).set_index("type")
    quantized = train_quantized(model, patterns, epochs=0)

    assert list(coverage.columns) == ["layer", "scheme", "reason"]
    assert coverage.loc["Conv1D", "scheme"] == "native"
    assert coverage.loc["Dense", "scheme"] == "native"
    assert coverage.loc["Mix", "scheme"] == "generic"
    assert coverage.loc["MultiHeadAttention", "scheme"] == "generic"
    assert "BatchNormalization" not in coverage.index  # folded
    shown = capsys.readouterr().out
    assert all(name in shown for name in quantized.coverage["layer"])
    train_quantized(model, patterns, epochs=0, verbose=0)
    assert capsys.readouterr().out == ""


def test_coverage_says_what_is_left_and_what_needs_nothing():
    inputs = keras.Input((16, 3))
    sequence, state, _ = layers.LSTM(4, return_sequences=True, return_state=True)(inputs)
    x = layers.Flatten()(layers.MaxPooling1D()(sequence))
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([x, state])))

    schemes = quantization_coverage(model).set_index("type")["scheme"]

    assert schemes["LSTM"] == "generic"
    assert schemes["MaxPooling1D"] == schemes["Flatten"] == "nothing to quantize"


def test_ranges_are_calibrated_before_the_first_step(patterns):
    model = functional((16, 3), lambda x: layers.Conv1D(4, 3, activation="relu", name="conv")(x))
    features = keras.Model(model.input, model.get_layer("conv").output)

    quantized = train_quantized(model, patterns, epochs=0, verbose=0)

    aware = quantized.tf_keras
    maximum = next(
        weight
        for weight in aware.get_layer("quant_conv").weights
        if "post_activation_max" in weight.name
    )
    batches = [features(patterns.x_train[:64]), features(patterns.x_train[64:])]
    wanted = np.mean([np.max(batch) for batch in batches])
    # Calibration sees the convolution with its quantized weights.
    assert float(maximum) == pytest.approx(wanted, rel=0.02)


def test_range_follows_the_batches_in_training_only():
    quantizer = FollowedRange()
    ranges = {"min_var": tf.Variable(-1.0), "max_var": tf.Variable(1.0)}
    wide = tf.constant([-11.0, 0.2, 11.0])

    quantizer(wide, training=False, weights=ranges)
    assert float(ranges["max_var"]) == 1.0
    quantizer(wide, training=True, weights=ranges)
    assert float(ranges["max_var"]) == pytest.approx(1.1)
    assert float(ranges["min_var"]) == pytest.approx(-1.1)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_export_needs_no_keras_and_answers_alike(batch_size, patterns, tmp_path):
    keras.utils.set_random_seed(0)
    model = functional((16, 3), recurrent)
    quantized = train_quantized(model, patterns, epochs=0, verbose=0)

    quantized.export(tmp_path / "saved", batch_size=batch_size)

    signature = tf.saved_model.load(tmp_path / "saved").signatures["serving_default"]
    x = tf.constant(patterns.x_test[:batch_size])
    np.testing.assert_allclose(signature(x=x)["output"], quantized(x), atol=1e-5)
    nodes = signature.graph.as_graph_def()
    names = {node.op for function in nodes.library.function for node in function.node_def}
    assert any(name.startswith("FakeQuant") for name in names)
    assert not any("While" in name for name in names)  # unrolled
    assert not quantized.model.layers[2].unroll


def test_interrupted_training_leaves_the_model_as_it_was(patterns, monkeypatch):
    model = functional((16, 3), mixed)
    before = model.get_weights()

    def interrupt(*arguments, **options):
        fit(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("leankeras.quantization.training.fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_quantized(model, patterns, epochs=1, verbose=0)

    for ours, kept in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, ours)


def with_nan(model):
    model.layers[-1].bias.assign([np.nan] * 3)
    return model


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (lambda: functional((16, 3), mixed), {"preserve": "zeros"}, ParameterError, "'zeros'"),
        (lambda: functional((16, 3), mixed), {"epochs": -1}, ParameterError, "epochs is -1"),
        (lambda: functional((9, 3), mixed), {}, ModelError, "does not take samples"),
        (lambda: functional((16, 3), mixed, classes=2), {}, DataError, "for 2 outputs"),
        (lambda: with_nan(functional((16, 3), mixed)), {}, ModelError, "NaN"),
        (lambda: keras.Sequential([layers.Dense(3)]), {}, ModelError, "is not built"),
        (
            lambda: keras.Sequential([keras.Input((16, 3)), layers.GlobalAveragePooling1D()]),
            {},
            ModelError,
            "no layer with weights to quantize",
        ),
    ],
)
def test_bad_input_is_refused_before_training(
    model, options, error, message, patterns, monkeypatch
):
    def never(*arguments, **others):
        raise AssertionError("training started")

    monkeypatch.setattr("leankeras.quantization.training.fit", never)
    with pytest.raises(error, match=message):
        train_quantized(model(), patterns, verbose=0, **options)


def test_result_is_what_the_contract_names(patterns):
    quantized = train_quantized(functional((16, 3), convolutions), patterns, 0, verbose=0)

    assert isinstance(quantized, QuantizedModel)
    assert isinstance(quantized.model, keras.Model)
    assert not any(isinstance(x, layers.BatchNormalization) for x in quantized.model.layers)
    assert quantized(patterns.x_test[:5]).shape == (5, 3)
