"""A twin masks what its model masks, whatever the mask's path; the inputs end in padding."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from leankeras import Data, cluster, prune
from leankeras.kernels import measure_kernels
from leankeras.twin.twin import Twin

# Keras warns about layers that drop a mask, as some of these models do.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")


@keras.saving.register_keras_serializable("test_twin_masks")
class MaskedMean(layers.Layer):
    """A user's layer that takes a mask."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, mask=None):
        return None

    def call(self, inputs, mask=None):
        kept = ops.expand_dims(ops.cast(mask, inputs.dtype), -1)
        return ops.sum(inputs * kept, 1) / ops.sum(kept, 1)


@keras.saving.register_keras_serializable("test_twin_masks")
class Tokens(layers.Layer):
    """Attaches a mask of which Keras learns at run time only."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(20, 4, mask_zero=True)

    def build(self, input_shape):
        self.embedding.build(input_shape)

    def call(self, inputs):
        return self.embedding(inputs)


@keras.saving.register_keras_serializable("test_twin_masks")
class Block(layers.Layer):
    """Takes no mask, but the layer inside it does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 4)

    def build(self, input_shape):
        self.attention.build(input_shape, input_shape)

    def call(self, inputs):
        return ops.mean(inputs + self.attention(inputs, inputs), 1)


def embedded(tokens):
    return layers.Embedding(20, 4, mask_zero=True)(tokens)


def masked(series):
    return layers.Masking(mask_value=0.0)(series)


def nested(tokens):
    inner = keras.Input((8,), dtype="int32")
    encoder = keras.Model(inner, layers.Dense(5)(embedded(inner)))
    outer = keras.Input((8, 5))
    return keras.Model(outer, layers.Bidirectional(layers.GRU(3))(outer))(encoder(tokens))


def softmax(tokens):
    x = layers.Embedding(20, 4)(tokens)
    mask = ops.expand_dims(ops.not_equal(tokens, 0), -1)
    return ops.sum(x * layers.Softmax(axis=1)(layers.Dense(1)(x), mask=mask), 1)


def attention_and_norm(tokens):
    x = embedded(tokens)
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))
    return layers.GlobalAveragePooling1D()(layers.Dropout(0.2)(x))


def two_embeddings(tokens):
    return layers.GRU(3)(layers.Concatenate()([embedded(tokens), embedded(tokens)]))


def sequential(tokens):
    embedding = layers.Embedding(20, 4, mask_zero=True)
    return keras.Sequential([embedding, layers.GRU(4, return_sequences=True), MaskedMean()])(tokens)


def shared_with_and_without(tokens):
    dense, recurrent, x = layers.Dense(4), layers.LSTM(4), embedded(tokens)
    return layers.Add()([recurrent(dense(x)), recurrent(dense(x * 2.0))])


ON_TOKENS = {
    "lstm": lambda x: layers.LSTM(3)(embedded(x)),
    "gru of both directions": lambda x: layers.Bidirectional(layers.GRU(3))(embedded(x)),
    "stacked": lambda x: layers.LSTM(3)(layers.LSTM(3, return_sequences=True)(embedded(x))),
    "given": lambda x: layers.LSTM(3)(layers.Embedding(20, 4)(x), mask=ops.not_equal(x, 0)),
    "pooling": lambda x: layers.GlobalAveragePooling1D()(layers.Dense(5)(embedded(x))),
    "pooling after an operation": lambda x: layers.GlobalAveragePooling1D()(embedded(x) * 2.0),
    "attention": lambda x: layers.GlobalAveragePooling1D()(layers.Attention()([embedded(x)] * 2)),
    "attention and norm": attention_and_norm,
    "softmax": softmax,
    "two embeddings": two_embeddings,
    "custom": lambda x: MaskedMean()(layers.Dense(4)(embedded(x))),
    "hidden": lambda x: layers.LSTM(3)(Tokens()(x)),
    "inside": lambda x: Block()(embedded(x)),
    "nested": nested,
    "sequential": sequential,
    "shared": shared_with_and_without,
}
ON_SERIES = {
    "gru": lambda x: layers.GRU(3)(masked(x)),
    "cells": lambda x: layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)])(masked(x)),
    "distributed": lambda x: layers.LSTM(3)(layers.TimeDistributed(layers.Dense(3))(masked(x))),
    "operation": lambda x: layers.GRU(3)(ops.tanh(masked(x))),
    "dropped": lambda x: layers.GlobalAveragePooling1D()(layers.Conv1D(3, 3)(masked(x))),
}


def tokens(count):
    x = np.random.default_rng(0).integers(1, 20, (count, 8)).astype("int32")
    x[:, 6:] = 0
    return x


def series(count):
    x = np.random.default_rng(0).standard_normal((count, 8, 3)).astype("float32")
    x[:, 6:] = 0
    return x


def model_of(network, samples):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(samples.shape[1:], dtype=samples.dtype.name)
    return keras.Model(inputs, layers.Dense(2)(network(inputs)))


@pytest.mark.parametrize(
    ("network", "samples"),
    [(network, tokens(3)) for network in ON_TOKENS.values()]
    + [(network, series(3)) for network in ON_SERIES.values()],
    ids=[*ON_TOKENS, *ON_SERIES],
)
def test_twin_masks_as_its_model_does(network, samples):
    model = model_of(network, samples)

    twin = Twin.of(model)

    found = twin.model(samples, training=False)
    np.testing.assert_allclose(found, model(samples, training=False), atol=1e-5)
    assert getattr(found, "_keras_mask", None) is None
    for ours, theirs in zip(model.get_weights(), twin.write_back().get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize(
    ("network", "make"),
    [(ON_TOKENS["pooling after an operation"], tokens), (ON_SERIES["gru"], series)],
    ids=["tokens", "series"],
)
def test_masked_models_are_pruned_and_clustered(network, make):
    x, y = make(32), np.arange(32) % 2
    model = model_of(network, x)

    pruned = prune(model, Data(x, y, x, y), sparsity=0.5, epochs=1, leave=(), verbose=0)
    clustered = cluster(model, Data(x, y, x, y), clusters=3, epochs=1, verbose=0)

    assert (measure_kernels(pruned)["sparsity"] > 0.4).all()
    assert (measure_kernels(clustered)["unique"] <= 3).all()
