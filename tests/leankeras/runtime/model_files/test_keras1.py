"""Files of Keras 1, which no longer runs: written by hand, with outputs computed by hand."""

import keras
import numpy as np
import pytest

from leankeras.errors import ModelError
from leankeras.runtime import load_keras
from tests.leankeras.runtime.model_files.files import write_hdf5

RANDOM = np.random.default_rng(0)


def weights(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, "trainable": True, **config}}


def sequential(*layers):
    return {"class_name": "Sequential", "config": list(layers)}


def test_a_convolutional_network(tmp_path):
    entry = sequential(
        layer(
            "Convolution2D", "c", batch_input_shape=[None, 8, 8, 3], input_dtype="float32",
            nb_filter=4, nb_row=3, nb_col=3, init="glorot_uniform", activation="relu",
            border_mode="same", subsample=[2, 2], dim_ordering="tf", bias=True, b_regularizer=None,
            W_regularizer={"name": "WeightRegularizer", "l1": 0.0, "l2": 1e-4}, W_constraint=None,
        ),
        layer("BatchNormalization", "b", epsilon=1e-3, mode=0, axis=-1, momentum=0.99),
        layer("MaxPooling2D", "m", pool_size=[2, 2], strides=[2, 2], border_mode="valid"),
        layer("Flatten", "f"),
        layer("Dropout", "r", p=0.5),
        layer("Dense", "d", output_dim=2, init="uniform", activation="softmax", input_dim=None),
    )  # fmt: skip
    arrays = {
        "c": [weights(3, 3, 3, 4), weights(4)],
        "b": [weights(4), weights(4), weights(4), np.abs(weights(4))],
        "d": [weights(16, 2), weights(2)],
    }
    write_hdf5(tmp_path / "m.h5", entry, arrays, "1.2.2")
    x, ops = weights(2, 8, 8, 3), keras.ops
    y = ops.relu(ops.conv(x, arrays["c"][0], 2, "same") + arrays["c"][1])
    gamma, beta, mean, variance = arrays["b"]
    y = ops.max_pool((y - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 2, 2)
    y = ops.softmax(ops.reshape(y, (2, 16)) @ arrays["d"][0] + arrays["d"][1])
    np.testing.assert_allclose(load_keras(tmp_path / "m.h5")(x), y, atol=1e-6)


def test_a_network_for_words_with_an_array_for_each_gate(tmp_path):
    entry = sequential(
        layer(
            "Embedding", "e", batch_input_shape=[None, 6], input_dtype="int32", input_dim=10,
            output_dim=3, init="uniform", input_length=6, mask_zero=False, dropout=0.0,
        ),
        layer(
            "LSTM", "l", output_dim=4, inner_init="orthogonal", forget_bias_init="one",
            activation="tanh", inner_activation="hard_sigmoid", dropout_W=0.1, dropout_U=0.1,
            consume_less="cpu", return_sequences=False, input_dim=3,
        ),
    )  # fmt: skip
    gates = [(weights(3, 4), weights(4, 4), weights(4)) for _ in range(4)]
    table = weights(10, 3)
    arrays = {"e": [table], "l": [array for gate in gates for array in gate]}
    write_hdf5(tmp_path / "m.h5", entry, arrays, None)
    words = RANDOM.integers(0, 10, (2, 6))
    h = c = np.zeros((2, 4))
    for step in range(6):
        i, new, f, o = (table[words[:, step]] @ w + h @ u + b for w, u, b in gates)
        i, f, o = (np.clip(0.2 * gate + 0.5, 0, 1) for gate in (i, f, o))
        c = f * c + i * np.tanh(new)
        h = o * np.tanh(c)
    np.testing.assert_allclose(load_keras(tmp_path / "m.h5")(words), h, atol=1e-6)


def test_a_graph_with_a_merge(tmp_path):
    dense = layer("Dense", "d", output_dim=4, activation="linear", bias=False)
    node = {"name": "d", "inbound_nodes": [[["i", 0, 0]]]}
    shape = {"batch_input_shape": [None, 4], "input_dtype": "float32"}
    merge = layer("Merge", "m", mode="concat", concat_axis=-1, dot_axes=-1, layers=[])
    entry = {
        "class_name": "Model",
        "config": {
            "name": "model",
            "layers": [
                layer("InputLayer", "i", **shape) | {"name": "i", "inbound_nodes": []},
                dense | node,
                merge | {"name": "m", "inbound_nodes": [[["i", 0, 0], ["d", 0, 0]]]},
            ],
            "input_layers": [["i", 0, 0]],
            "output_layers": [["m", 0, 0]],
        },
    }
    kernel, x = weights(4, 4), weights(2, 4)
    write_hdf5(tmp_path / "m.h5", entry, {"d": [kernel]}, "1.1.0")
    y = load_keras(tmp_path / "m.h5")(x)
    np.testing.assert_allclose(y, np.hstack([x, x @ kernel]), atol=1e-6)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (layer("Convolution2D", "c", nb_filter=1, dim_ordering="th"), "channels first"),
        (layer("Merge", "m", mode="cos"), "merges by 'cos'"),
        (layer("MaxoutDense", "x", output_dim=2), "MaxoutDense layer .x., which Keras 3 no longer"),
    ],
)
def test_what_keras_3_cannot_do_is_named(refused, message, tmp_path):
    write_hdf5(tmp_path / "m.h5", sequential(refused), {}, "1.2.2")
    with pytest.raises(ModelError, match=message):
        load_keras(tmp_path / "m.h5")
