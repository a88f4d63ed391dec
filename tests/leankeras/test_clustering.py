"""Distinct values are counted in the Keras 3 model that is returned."""

import keras
import numpy as np
import pytest
from keras import layers

from leankeras import Data, cluster, prune
from leankeras.errors import ModelError, ParameterError
from leankeras.kernels import measure_kernels


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(256, 12, 6)).astype("float32")
    y = x[..., :3].mean(axis=1).argmax(axis=1)
    return Data(x, y, x[:64], y[:64])


def convolutional(last=None):
    inputs = keras.Input((12, 6))
    x = layers.Conv1D(8, 3, activation="relu", name="first")(inputs)
    x = layers.Reshape((10, 8, 1))(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=4, name="depthwise")(x)
    x = layers.SeparableConv2D(16, 3, name="separable")(x)
    x = layers.Conv2DTranspose(8, 3, name="transposed")(x)
    x = layers.Flatten()(layers.Conv2D(8, 3, name="second")(x))
    return keras.Model(inputs, layers.Dense(3, activation=last, name="last")(x))


def sequential_layers():
    inputs = keras.Input((12, 6))
    x = layers.Conv1D(8, 3, name="first")(inputs)
    x = x + layers.MultiHeadAttention(4, 8, name="attention")(x, x)
    x = layers.GRU(8, return_sequences=True, name="gru")(x)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True), name="both")(x)
    x = layers.TimeDistributed(layers.Dense(8), name="each")(x)
    return keras.Model(inputs, layers.Dense(3, name="last")(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("clusters", [4, 16])
def test_every_kernel_takes_so_many_values(clusters, data):
    model = convolutional()
    before = model.get_weights()
    clustered = cluster(model, data, clusters, epochs=1, verbose=0)
    unique = measure_kernels(clustered)["unique"]
    for name in ("first", "transposed", "second", "last"):
        assert 2 <= unique[name] <= clusters, name
    pointwise = np.asarray(clustered.get_layer("separable").pointwise_kernel)
    assert len(np.unique(pointwise)) <= clusters
    assert unique["depthwise"] == 36
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_values_stay_close_to_the_weights_they_stand_for(data):
    model = convolutional()
    clustered = cluster(model, data, clusters=16, epochs=1, verbose=0)
    before, after = (np.asarray(m.get_layer("transposed").kernel) for m in (model, clustered))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.95


def test_recurrent_and_attention_layers_are_clustered(data):
    clustered = cluster(sequential_layers(), data, clusters=8, epochs=1, verbose=0)
    unique = measure_kernels(clustered)["unique"]
    assert (unique <= 8).all()


def test_pruned_kernels_keep_their_zeros(data):
    pruned = prune(sequential_layers(), data, sparsity=0.6, epochs=1, leave=[], verbose=0)
    clustered = cluster(pruned, data, clusters=8, epochs=1, verbose=0)
    before, after = measure_kernels(pruned), measure_kernels(clustered)
    assert (after["unique"] <= 8).all()
    np.testing.assert_allclose(after["sparsity"], before["sparsity"], atol=0.01)


def test_what_the_table_says_is_what_is_done(data, capsys):
    clustered = cluster(convolutional("softmax"), data, clusters=30, epochs=1, leave=["second"])
    lines = capsys.readouterr().out.splitlines()
    by_layer = {line.split()[0]: line for line in lines[1:-1]}
    unique = measure_kernels(clustered)["unique"]
    for name, line in by_layer.items():
        if line.rstrip().endswith("30 values"):
            assert name == "separable" or unique[name] <= 30, name
        else:
            assert unique[name] > 30, name
    assert by_layer["second"].endswith("left as asked")
    assert by_layer["depthwise"].endswith("depthwise kernels are left alone")
    assert lines[-1].startswith("at most ")


def test_clustered_model_survives_saving(data, tmp_path, capsys):
    clustered = cluster(convolutional(), data, clusters=8, epochs=1, verbose=0)
    assert capsys.readouterr().out == ""
    clustered.save(tmp_path / "clustered.keras")
    loaded = keras.models.load_model(tmp_path / "clustered.keras")
    np.testing.assert_allclose(loaded(data.x_test), clustered(data.x_test), atol=1e-6)
    assert measure_kernels(loaded).equals(measure_kernels(clustered))


def nan_model():
    model = convolutional()
    model.get_layer("first").kernel.assign(np.full((3, 6, 8), np.nan))
    return model


@pytest.mark.parametrize(
    ("build", "arguments", "error", "words"),
    [
        (convolutional, {"clusters": 1}, ParameterError, "at least 3"),
        (convolutional, {"clusters": 8.0}, ParameterError, "integer"),
        (convolutional, {"epochs": 0}, ParameterError, "at least 1"),
        (convolutional, {"leave": ["nowhere"]}, ModelError, "'nowhere'"),
        (convolutional, {"clusters": 100_000}, ModelError, "to cluster .*gains nothing from"),
        (nan_model, {}, ModelError, "NaN"),
        (lambda: keras.Sequential([layers.Dense(3)]), {}, ModelError, "not built"),
    ],
)
def test_bad_input_is_one_clear_line_before_training(
    build, arguments, error, words, data, monkeypatch
):
    monkeypatch.setattr("leankeras.clustering.fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(error, match=words) as raised:
        cluster(build(), data, verbose=0, **arguments)
    assert "\n" not in str(raised.value)
