"""Zeros are counted in the Keras 3 model that is returned, not taken from reported figures."""

import keras
import numpy as np
import pytest
from keras import layers

from leankeras import Data, prune
from leankeras.errors import DataError, ModelError, ParameterError
from leankeras.kernels import measure_kernels


class Mix(layers.Layer):
    """A user's layer with a kernel and a scale, written with keras.ops."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.mixing = self.add_weight(shape=(input_shape[-1], self.units), name="mixing")
        self.scale = self.add_weight(shape=(self.units,), initializer="ones", name="scale")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.mixing) * self.scale

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def samples(*shape, count=256):
    """Three classes that the mean of the first three channels tells apart."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, *shape)).astype("float32")
    means = x.reshape(count, -1, shape[-1])[..., :3].mean(axis=1)
    return Data(x, means.argmax(axis=1), x[:64], means[:64].argmax(axis=1))


def images(last=None):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.SeparableConv2D(16, 3, padding="same", name="separable")(x)
    x = layers.Conv2DTranspose(8, 3, name="transposed")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(3, activation=last, name="last")(x))


def sequences():
    inputs = keras.Input((10, 4))
    x = layers.Conv1D(8, 3, name="first")(inputs)
    x = layers.LayerNormalization()(Mix(8, name="custom")(x))
    x = x + layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LSTM(8, return_sequences=True, name="lstm")(x)
    x = layers.Bidirectional(layers.SimpleRNN(8, return_sequences=True), name="both")(x)
    x = layers.TimeDistributed(layers.Dense(8), name="each")(x)
    return keras.Model(inputs, layers.Dense(3, name="last")(layers.GlobalAveragePooling1D()(x)))


def kernel_of(model, name, index=0):
    kernels = [w for w in model.get_layer(name).trainable_weights if len(w.shape) > 1]
    return np.asarray(kernels[index])


def share_of_zeros(kernel):
    return float((kernel == 0).mean())


@pytest.mark.parametrize("schedule", ["constant", "polynomial"])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_magnitude_reaches_the_sparsity_exactly(sparsity, schedule):
    pruned = prune(images(), samples(8, 8, 3), "magnitude", sparsity, 2, schedule, verbose=0)
    for name, index in (("separable", 1), ("transposed", 0), ("hidden", 0)):
        kernel = kernel_of(pruned, name, index)
        kept = max(1, round(kernel.size * (1 - sparsity)))
        assert np.count_nonzero(kernel) == kept
    for name, index in (("first", 0), ("depthwise", 0), ("separable", 0), ("last", 0)):
        assert share_of_zeros(kernel_of(pruned, name, index)) == 0


def test_recurrent_attention_and_custom_layers_are_pruned():
    pruned = prune(sequences(), samples(10, 4), sparsity=0.75, epochs=1, verbose=0)
    table = measure_kernels(pruned)["sparsity"]
    for name in ("custom", "attention", "lstm", "both", "each"):
        assert table[name] == pytest.approx(0.75, abs=0.02), name
    assert table["first"] == table["last"] == 0


def test_smallest_weights_go_and_training_goes_on():
    model, data = images(), samples(8, 8, 3)
    pruned = prune(model, data, sparsity=0.5, epochs=1, verbose=0)
    before, after = kernel_of(model, "hidden"), kernel_of(pruned, "hidden")
    assert np.abs(before[after == 0]).mean() < 0.5 * np.abs(before[after != 0]).mean()
    assert not np.allclose(kernel_of(model, "last"), kernel_of(pruned, "last"))


def test_two_of_four_along_the_inputs():
    pruned = prune(images(), samples(8, 8, 3), "2:4", epochs=1, verbose=0)
    hidden = kernel_of(pruned, "hidden")
    assert ((hidden.T.reshape(-1, 4) == 0).sum(axis=1) == 2).all()
    pointwise = kernel_of(pruned, "separable", 1)[0, 0]
    assert ((pointwise.T.reshape(-1, 4) == 0).sum(axis=1) == 2).all()


def test_blocks_of_four_inputs():
    pruned = prune(images(), samples(8, 8, 3), "block", 0.75, 1, verbose=0)
    hidden = kernel_of(pruned, "hidden")
    in_block = (hidden.T.reshape(-1, 4) == 0).sum(axis=1)
    assert set(in_block) == {0, 4}
    assert share_of_zeros(hidden) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    ("method", "pruned_layers"),
    [
        ("magnitude", {"custom", "attention", "lstm", "both", "each"}),
        ("2:4", {"custom", "lstm", "both", "each"}),
        ("block", {"custom", "lstm", "both", "each"}),
    ],
)
def test_what_the_table_says_is_what_is_done(method, pruned_layers, capsys):
    pruned = prune(sequences(), samples(10, 4, count=64), method, epochs=1)
    measured = measure_kernels(pruned)["sparsity"]
    assert set(measured[measured > 0].index) == pruned_layers
    lines = capsys.readouterr().out.splitlines()
    planned = {line.split()[0] for line in lines[1:-1] if f"{method} 50%" in line}
    assert planned == pruned_layers
    assert next(line for line in lines if "Conv1D" in line).endswith("the first layer")
    if method != "magnitude":
        attention = next(line for line in lines if "attention" in line)
        assert "takes kernels of rank" in attention
    assert lines[-1].startswith(f"{100 * zeros_in(pruned):.1f}%")


def test_a_model_of_one_layer_has_no_ends_to_leave():
    model = one_layer()
    pruned = prune(model, samples(8, 8, 3, count=64), sparsity=0.75, epochs=1, verbose=0)
    assert measure_kernels(pruned)["sparsity"].tolist() == [0.75]


def zeros_in(model):
    table = measure_kernels(model)
    return (table["weights"] * table["sparsity"]).sum() / table["weights"].sum()


def test_layers_to_leave_replace_the_default():
    data = samples(8, 8, 3, count=64)
    pruned = prune(images(), data, epochs=1, leave=["hidden"], verbose=0)
    assert share_of_zeros(kernel_of(pruned, "hidden")) == 0
    for name in ("first", "last"):
        assert share_of_zeros(kernel_of(pruned, name)) == pytest.approx(0.5, abs=0.01)


def test_nothing_is_printed_with_verbose_0_and_the_model_is_left_as_it_was(capsys):
    model = images(last="softmax")
    before = model.get_weights()
    pruned = prune(model, samples(8, 8, 3, count=64), epochs=1, verbose=0)
    assert capsys.readouterr().out == ""
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert [layer.name for layer in pruned.layers[1:]] == [layer.name for layer in model.layers[1:]]


def test_pruned_model_is_plain_keras_and_survives_saving(tmp_path):
    data = samples(10, 4, count=64)
    model = keras.Sequential(
        [keras.Input((10, 4)), layers.Flatten(), Mix(16, name="custom"), layers.Dense(3)]
    )
    pruned = prune(model, data, epochs=1, leave=[], verbose=0)
    pruned.save(tmp_path / "pruned.keras")
    loaded = keras.models.load_model(tmp_path / "pruned.keras", {"Mix": Mix})
    np.testing.assert_allclose(loaded(data.x_test), pruned(data.x_test), atol=1e-6)
    assert measure_kernels(loaded).equals(measure_kernels(pruned))


def test_interrupted_training_leaves_the_model_as_it_was(monkeypatch):
    model = images()
    before = model.get_weights()

    def interrupted(wrapped, *args, **kwargs):
        wrapped.set_weights([weight * 0 for weight in wrapped.get_weights()])
        raise KeyboardInterrupt

    monkeypatch.setattr("leankeras.pruning.fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune(model, samples(8, 8, 3, count=64), verbose=0)
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def one_layer():
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3, name="all")])


def nan_model():
    model = images()
    model.get_layer("first").kernel.assign(np.full((3, 3, 3, 8), np.nan))
    return model


def wide():
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])


@pytest.mark.parametrize(
    ("build", "arguments", "error", "words"),
    [
        (images, {"sparsity": 1.0}, ParameterError, "below 1"),
        (images, {"sparsity": -0.5}, ParameterError, "0 to below 1"),
        (images, {"epochs": 0}, ParameterError, "at least 1"),
        (images, {"method": "random"}, ParameterError, "magnitude, 2:4, block"),
        (images, {"schedule": "linear"}, ParameterError, "constant, polynomial"),
        (images, {"method": "2:4", "sparsity": 0.8}, ParameterError, r"always gives 0\.5"),
        (images, {"leave": ["nowhere"]}, ModelError, "'nowhere'"),
        (one_layer, {"leave": ["all"]}, ModelError, "no layer to prune .*left as asked"),
        (nan_model, {}, ModelError, "NaN"),
        (wide, {}, DataError, "for 2 outputs"),
        (lambda: keras.Sequential([layers.Dense(3)]), {}, ModelError, "not built"),
    ],
)
def test_bad_input_is_one_clear_line_before_training(build, arguments, error, words, monkeypatch):
    monkeypatch.setattr("leankeras.pruning.fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(error, match=words) as raised:
        prune(build(), samples(8, 8, 3, count=64), verbose=0, **arguments)
    assert "\n" not in str(raised.value)
