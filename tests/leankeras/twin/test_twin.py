"""A twin must give the same numbers, and trained weights must come back without loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from keras import layers, ops

from leankeras import to_tf_keras
from leankeras.copying import copy_model
from leankeras.errors import ModelError, TwinError
from leankeras.graph import as_graph, sample_inputs
from leankeras.twin.bridge import KerasOperation
from leankeras.twin.twin import Twin


@keras.saving.register_keras_serializable("test_twin")
class FilterLoop(layers.Layer):
    """Written with TensorFlow: a convolution filter by filter, the kernel laid out its own way."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(self.filters, 3, input_shape[-1], 1), name="kernel")

    def call(self, inputs):
        maps = [tf.nn.conv1d(inputs, self.kernel[i], 1, "SAME") for i in range(self.filters)]
        return tf.nn.relu(tf.concat(maps, -1))


@keras.saving.register_keras_serializable("test_twin")
class Gate(layers.Layer):
    """Written with keras.ops, holding layers of its own, one of them with moving statistics."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = layers.Dense(units)
        self.norm = layers.BatchNormalization()

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.norm.build((*input_shape[:-1], self.units))
        self.scale = self.add_weight(shape=(self.units, self.units), name="scale")

    def call(self, inputs, training=None):
        return ops.matmul(self.norm(self.dense(inputs), training=training), self.scale)


@keras.saving.register_keras_serializable("test_twin")
class Subclassed(keras.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.convolution = layers.Conv1D(units, 3)
        self.head = layers.Dense(2)

    def call(self, inputs, training=None):
        return self.head(ops.mean(self.convolution(inputs), 1))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def functional(shape, function, dtype=None):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, function(inputs))


def custom_layers():
    return functional((12, 4), lambda x: Gate(3)(FilterLoop(5)(x)))


def sequential_without_input():
    model = keras.Sequential(
        [layers.Dense(5, "relu"), layers.BatchNormalization(), layers.Dropout(0.5)]
    )
    model(np.ones((2, 8), "float32"))
    return model


def shared_layers():
    inputs = keras.Input((8,))
    dense, gate = layers.Dense(8, activation="tanh"), Gate(8)
    return keras.Model(inputs, [gate(dense(dense(inputs))), gate(dense(inputs))])


def nested_twice():
    encoder = keras.Sequential(
        [keras.Input((12, 4)), layers.Conv1D(6, 3, name="same"), layers.BatchNormalization()]
    )
    other = functional((10, 6), lambda x: layers.Conv1D(2, 3, name="same")(x))
    left, right = keras.Input((12, 4), name="left"), keras.Input((12, 4), name="right")
    return keras.Model([left, right], other(layers.Subtract()([encoder(left), encoder(right)])))


def dict_of_inputs():
    first, second = keras.Input((8,), name="first"), keras.Input((4,), name="second")
    joined = layers.Concatenate()([layers.Dense(3)(first), layers.Dense(3)(second)])
    outputs = {"score": layers.Dense(1)(joined), "parts": [joined, layers.Dense(2)(joined)]}
    return keras.Model({"second": second, "first": first}, outputs)


def masked_text():
    def network(tokens):
        x = layers.Embedding(20, 8, mask_zero=True)(tokens)
        x = layers.Bidirectional(layers.GRU(4, return_sequences=True))(x)
        return layers.LSTM(3)(x)

    return functional((9,), network, "int32")


def masked_attention():
    def network(tokens):
        x = layers.Embedding(20, 8, mask_zero=True)(tokens)
        return layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)

    return functional((9,), network, "int32")


def recurrent():
    def network(x):
        sequence, state, _ = layers.LSTM(5, return_sequences=True, return_state=True)(x)
        following = layers.GRU(5, activation="hard_sigmoid")(sequence, initial_state=state)
        stacked = layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(2)]))
        each = layers.TimeDistributed(layers.Dense(2))(sequence)
        return layers.Concatenate()([following, stacked(sequence), each[:, -1]])

    return functional((6, 4), network)


def named_alike_but_different():
    def network(x):
        x = layers.Conv2D(6, 3, activation="hard_sigmoid")(x)
        x = layers.DepthwiseConv2D(3, activation="hard_silu")(x)
        x = layers.LeakyReLU(negative_slope=0.1)(layers.LayerNormalization()(x))
        x = layers.SeparableConv2D(4, 3, activation="leaky_relu")(x)
        return layers.PReLU()(layers.Conv2D(4, 1, activation="silu")(x))

    return functional((12, 12, 3), network)


def normalized():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).random((50, 8)) * 3)
    return functional((8,), lambda x: layers.Dense(2)(normalization(x)))


def operations():
    def network(x):
        products = ops.softmax(ops.matmul(ops.transpose(x, (0, 2, 1)), x))
        first, second = ops.split(products, 2, axis=-1)
        joined = ops.concatenate([first, 2 * second], axis=-1)
        return ops.einsum("bij,bjk->bik", joined, products)[:, 0] + ops.mean(x, 1)

    return functional((6, 4), network)


def scaled_by_function():
    return functional((4,), lambda x: layers.Lambda(lambda values: values * 2 + 1)(x))


MODELS = (
    custom_layers,
    sequential_without_input,
    shared_layers,
    nested_twice,
    dict_of_inputs,
    masked_text,
    masked_attention,
    recurrent,
    named_alike_but_different,
    normalized,
    operations,
    scaled_by_function,
)


def randomized(model):
    """Weights unlike fresh ones: biases not zero, variances not one."""
    generator = np.random.default_rng(1)
    for weight in model.trainable_weights + model.non_trainable_weights:
        if "float" in weight.dtype and not weight.path.startswith("normalization"):
            weight.assign(np.asarray(weight) + 0.2 * generator.random(weight.shape))
    return model


def outputs_of(model, inputs):
    return [np.asarray(tensor) for tensor in keras.tree.flatten(model(inputs, training=False))]


def random_inputs(model):
    graph = as_graph(model)
    return keras.tree.pack_sequence_as(graph._inputs_struct, sample_inputs(graph))


@pytest.mark.parametrize("make", MODELS)
def test_twin_computes_the_same_and_returns_the_weights(make):
    model = randomized(make())
    inputs = random_inputs(model)

    twin = Twin.of(model)
    back = twin.write_back()

    assert isinstance(twin.model, tf_keras.Model)
    for ours, theirs in zip(outputs_of(model, inputs), outputs_of(twin.model, inputs), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    assert back is not model
    for ours, theirs in zip(model.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    np.testing.assert_allclose(outputs_of(back, inputs)[0], outputs_of(model, inputs)[0], atol=1e-6)


@pytest.mark.parametrize(
    "application", [keras.applications.MobileNetV2, keras.applications.MobileNetV3Small]
)
def test_twin_of_a_known_architecture(application):
    keras.utils.set_random_seed(0)
    model = application(input_shape=(32, 32, 3), weights=None, classes=10)

    twin = Twin.of(model)

    assert twin.max_abs_diff <= 1e-5
    assert len(twin.native) > len(twin.generic)


def test_subclassed_model_is_one_layer():
    called = Subclassed()
    called(np.ones((2, 20, 3), "float32"))

    for twin in (to_tf_keras(called), to_tf_keras(Subclassed(4), input_shape=(20, 3))):
        kinds = [type(layer) for layer in twin.layers]
        assert kinds == [tf_keras.layers.InputLayer, KerasOperation]


def test_trained_twin_comes_back_and_the_original_stays():
    model = custom_layers()
    before = model.get_weights()
    x = np.random.default_rng(0).random((32, 12, 4)).astype("float32")
    twin = Twin.of(model)
    twin.model.compile("sgd", "mse")
    twin.model.fit(x, np.ones((32, 12, 3)), epochs=2, verbose=0)

    back = twin.write_back()

    np.testing.assert_allclose(back(x), twin.model(x), atol=1e-5)
    moved = [not np.array_equal(*pair) for pair in zip(before, back.get_weights(), strict=True)]
    assert all(moved)  # kernels, scales and the moving statistics inside the custom layer
    for ours, kept in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, ours)
    assert [layer.name for layer in back.layers] == [layer.name for layer in model.layers]


def test_pruned_and_clustered_bridges():
    x = np.random.default_rng(0).random((64, 12, 4)).astype("float32")
    sparsity, clustering = tfmot.sparsity.keras, tfmot.clustering.keras

    def prune(layer):
        return sparsity.prune_low_magnitude(layer, sparsity.ConstantSparsity(0.5, 0, frequency=1))

    def cluster(layer):
        return clustering.cluster_weights(
            layer, 4, clustering.CentroidInitialization.KMEANS_PLUS_PLUS
        )

    def wrapped(wrap):
        return lambda layer: wrap(layer) if getattr(layer, "kernels", None) else layer

    def trained(wrap, callbacks):
        twin = Twin.of(custom_layers())
        model = tf_keras.models.clone_model(twin.model, clone_function=wrapped(wrap))
        model.compile("adam", "mse")
        model.fit(x, np.ones((64, 12, 3)), verbose=0, callbacks=callbacks)
        return twin, model

    twin, model = trained(prune, [sparsity.UpdatePruningStep()])
    pruned = twin.write_back(sparsity.strip_pruning(model))
    twin, model = trained(cluster, [])
    clustered = twin.write_back(clustering.strip_clustering(model))

    np.testing.assert_allclose(clustered(x), model(x), atol=1e-5)
    for before, after in zip(pruned.trainable_weights, clustered.trainable_weights, strict=True):
        if len(before.shape) >= 2:
            assert (before.numpy() == 0).mean() == pytest.approx(0.5, abs=0.1)
            assert len(np.unique(after)) <= 4


def test_replaced_weight_is_computed_with():
    twin = Twin.of(functional((6, 4), lambda x: FilterLoop(2, name="loop")(x)))
    bridge = twin.model.get_layer("loop")
    x = np.ones((1, 6, 4), "float32")
    variable = bridge.weight_0

    bridge.weight_0 = tf.zeros_like(variable)

    assert np.all(twin.model(x) == 0)
    assert bridge.trainable_weights == []
    bridge.weight_0 = variable
    assert np.any(twin.model(x) != 0)
    assert bridge.trainable_weights[0] is variable


@keras.saving.register_keras_serializable("test_twin")
class DrawnAtBirth(layers.Layer):
    """Holds numbers that are neither weights nor in the config."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.numbers = np.random.default_rng().random(4).astype("float32")

    def call(self, inputs):
        return inputs * self.numbers


class Applies(layers.Layer):
    """Takes a function, which no config can hold."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


def drawn(nested):
    inner = functional((4,), lambda x: layers.Dense(4)(DrawnAtBirth(name="culprit")(x)))
    network = inner if nested else DrawnAtBirth(name="culprit")
    return functional((4,), lambda x: layers.Dense(2)(network(layers.Dense(4)(x))))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda: drawn(nested=False), TwinError, "from layer culprit on"),
        (lambda: drawn(nested=True), TwinError, "from layer culprit on"),
        (
            lambda: functional((4,), lambda x: Applies(ops.relu, name="applies")(x)),
            TwinError,
            r"applies \(Applies\) cannot be rebuilt",
        ),
        (lambda: keras.Sequential([layers.Dense(2)]), ModelError, "is not built"),
        (lambda: Subclassed(), ModelError, "give input_shape"),
        (lambda: layers.Dense(2), ModelError, "got Dense; expected a Keras 3 model"),
        (lambda: tf_keras.Sequential(), ModelError, "expected a Keras 3 model"),
        (
            lambda: functional((1,), lambda x: layers.Hashing(3)(x), "string"),
            ModelError,
            "leave text preprocessing out",
        ),
    ],
)
def test_what_has_no_twin_is_refused(model, error, message):
    with pytest.raises(error, match=message):
        to_tf_keras(model())


def test_missing_and_misshapen_weights_are_refused():
    twin = Twin.of(functional((4,), lambda x: layers.Dense(2, name="head")(x)))

    with pytest.raises(TwinError, match="no layer head"):
        twin.write_back(tf_keras.Sequential([tf_keras.layers.Dense(2)]))
    with pytest.raises(TwinError, match=r"layer head: weights of shapes \[\(3, 2\), \(2,\)\]"):
        twin.with_weights({"head": [np.zeros((3, 2)), np.zeros(2)]})


def test_copy_keeps_names_and_shares_nothing():
    model = randomized(custom_layers())

    copy = copy_model(model)
    copy.layers[1].kernel.assign(np.zeros(copy.layers[1].kernel.shape))

    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    assert np.any(model.layers[1].kernel.numpy() != 0)
