"""Files that Keras 2 wrote, opened by Keras 3: the outputs are those of the saved model."""

import json
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tf_keras
from tf_keras import Input, layers

from leankeras.errors import ModelError
from leankeras.runtime import load_keras
from tests.leankeras.runtime.model_files.files import write_hdf5


def chain(shape, *made, dtype=None):
    inputs = x = Input(shape, dtype=dtype)
    for layer in made:
        x = layer(x)
    return tf_keras.Model(inputs, x)


def hard_sigmoid():
    inner = layers.Dense(4, activation="hard_sigmoid")
    return tf_keras.Sequential([Input((4,)), inner, layers.Activation("hard_sigmoid")])


def convolutions():
    return chain(
        (9, 9, 3),
        layers.Conv2D(4, 3, strides=2, padding="same", kernel_regularizer="l2"),
        layers.BatchNormalization(),
        layers.LeakyReLU(0.2),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.ReLU(6.0, 0.1, 0.2),
        layers.SeparableConv2D(4, 3, padding="same", kernel_constraint="non_neg"),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Conv2DTranspose(3, 3, strides=2),
        layers.ThresholdedReLU(0.3),
    )


def recurrent():
    steps = {"return_sequences": True}
    return chain(
        (7, 3),
        layers.Bidirectional(layers.LSTM(4, dropout=0.2, recurrent_dropout=0.1, **steps)),
        layers.GRU(3, **steps),
        layers.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid", **steps),
        layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(4)]), **steps),
        layers.TimeDistributed(tf_keras.Sequential([Input((4,)), layers.BatchNormalization()])),
        layers.SpatialDropout1D(0.1),
        layers.LSTM(3, recurrent_activation="hard_sigmoid", go_backwards=True),
    )


def states():
    inputs = Input((6, 3))
    x, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(inputs)
    return tf_keras.Model(inputs, layers.LSTM(4)(x, initial_state=[h, c]))


def attention():
    inputs = Input((6, 4))
    keys = layers.Dense(4)(inputs)
    x = layers.MultiHeadAttention(2, 3)(inputs, value=layers.Dense(4)(inputs), key=keys)
    return tf_keras.Model(inputs, layers.LayerNormalization()(layers.Attention()([x, inputs])))


def masked():
    return chain((6,), layers.Embedding(10, 4, mask_zero=True), layers.LSTM(3), dtype="int32")


def nested():
    """A model in a model, called twice, half of it frozen."""
    frozen = layers.Dense(4, trainable=False)
    inner = Input((4,))
    twice = tf_keras.Model(
        inner, [layers.BatchNormalization(trainable=False)(frozen(inner)), layers.Dense(4)(inner)]
    )
    plain = tf_keras.Sequential([Input((4,)), layers.Dense(4), layers.BatchNormalization()])
    inputs = Input((4,))
    a, b = twice(inputs)
    c, d = twice(plain(inputs))
    return tf_keras.Model(inputs, [layers.Add()([a, d]), layers.Concatenate()([b, c]), c])


def several():
    inputs = {name: Input((size,), name=name) for name, size in (("a", 4), ("b", 3))}
    both = layers.Concatenate()(list(inputs.values()))
    return tf_keras.Model(inputs, {"x": layers.Dense(2)(inputs["a"]), "y": layers.Dense(2)(both)})


def slashes():
    return chain((4,), layers.Dense(4, name="a/b"), layers.Dense(4, name="a_b"), layers.Dense(2))


def operations():
    inputs = Input((4,))
    x = tf_keras.activations.relu(layers.Dense(3)(inputs) * 2.0 + 1.0, max_value=6.0)
    return tf_keras.Model(inputs, layers.Dense(2)((x - 0.5) / 3.0))


def preprocessing():
    scaled = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[2.0, 3.0, 4.0])
    made = layers.Resizing(6, 6), scaled, layers.RandomFlip(), layers.RandomRotation(0.1)
    return tf_keras.Sequential([Input((8, 8, 3)), *made, layers.Rescaling(0.5)])


def activations():
    made = (layers.LeakyReLU(0.1), tf_keras.activations.swish, "gelu")
    return tf_keras.Sequential([Input((4,)), *(layers.Dense(3, activation=f) for f in made)])


MODELS = (
    hard_sigmoid, convolutions, recurrent, states, attention, masked, nested, several, slashes,
    operations, preprocessing, activations,
)  # fmt: skip


def save(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a warning against HDF5
        model.save(path)


def outputs(model, samples):
    given = samples if len(samples) > 1 else next(iter(samples.values()))
    return [np.asarray(each) for each in keras.tree.flatten(model(given, training=False))]


@pytest.fixture(scope="module", params=MODELS, ids=lambda build: build.__name__)
def saved(request, tmp_path_factory):
    """A folder with one model as ``.h5`` and as ``.keras``, samples and what it makes of them."""
    folder, random = tmp_path_factory.mktemp("keras2"), np.random.default_rng(0)
    tf_keras.utils.set_random_seed(0)
    model = request.param()
    # no weight keeps an initial value that others share
    model.set_weights([w + 0.3 * np.abs(random.normal(size=w.shape)) for w in model.get_weights()])
    for ending in ("h5", "keras"):
        save(model, folder / f"model.{ending}")
    samples = {
        tensor.name: random.integers(0, 10, (3, *tensor.shape[1:]))
        if tensor.dtype == "int32"
        else random.normal(size=(3, *tensor.shape[1:])).astype("float32")
        for tensor in model.inputs
    }
    return folder, samples, outputs(model, samples)


@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_it_computes_what_it_computed_in_keras_2(saved, ending):
    folder, samples, expected = saved
    for was, now in zip(
        expected, outputs(load_keras(folder / f"model.{ending}"), samples), strict=True
    ):
        np.testing.assert_allclose(now, was, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["model.keras", "model.hdf5"])
def test_hdf5_under_the_name_keras_as_before_2_12(name, tmp_path):
    model, x = hard_sigmoid(), np.ones((2, 4), "float32")
    save(model, tmp_path / "model.h5")
    opened = load_keras((tmp_path / "model.h5").rename(tmp_path / name))
    np.testing.assert_allclose(opened(x), model(x), atol=1e-6)


def test_what_was_frozen_is_frozen_and_the_rest_is_not(tmp_path):
    model = nested()
    save(model, tmp_path / "model.h5")
    opened = load_keras(tmp_path / "model.h5")
    assert [w.shape for w in opened.trainable_weights] == [w.shape for w in model.trainable_weights]


def with_lambda():
    return chain((4,), layers.Lambda(lambda x: 2 * x))


def with_lambda_inside():
    return chain((4, 3), layers.TimeDistributed(layers.Lambda(lambda x: 2 * x)))


def with_a_slice():
    inputs = Input((4, 3))
    return tf_keras.Model(inputs, inputs[:, 0])


def locally():
    return chain((8, 2), layers.LocallyConnected1D(2, 3))


class OfNobody(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def custom():
    return chain((4,), OfNobody())


@pytest.fixture
def nothing_registered():
    """Other tests register layers, some of them under names that Keras once had."""
    registered = keras.saving.get_custom_objects()
    before = dict(registered)
    registered.clear()
    yield
    registered.update(before)


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (with_lambda, "holds a Lambda layer .lambda.*, which is code and is not run"),
        (with_lambda_inside, "holds a Lambda layer .*, which is code and is not run"),
        (with_a_slice, "uses tf.__operators__.getitem.* .SlicingOpLambda.*outside any layer"),
        (locally, "holds a LocallyConnected1D layer .*, which Keras 3 no longer has"),
        (custom, "does not know the layer OfNobody .*; import the module .*--import MODULE"),
    ],
)
def test_what_cannot_be_opened_is_named(nothing_registered, build, message, ending, tmp_path):
    save(build(), tmp_path / f"model.{ending}")
    with pytest.raises(ModelError, match=message) as refused:
        load_keras(tmp_path / f"model.{ending}")
    assert "\n" not in str(refused.value)


def test_a_registered_layer_is_found_by_the_bare_name_that_keras_2_wrote(tmp_path):
    @keras.saving.register_keras_serializable("tests_of_keras2")
    class Thrice(keras.Layer):
        def call(self, inputs):
            return 3 * inputs

    entry = {"class_name": "Thrice", "config": {"name": "t", "batch_input_shape": [None, 4]}}
    write_hdf5(tmp_path / "m.h5", {"class_name": "Sequential", "config": [entry]}, {}, "2.2.4")
    assert load_keras(tmp_path / "m.h5")(np.ones((1, 4)))[0, 0] == 3


def test_an_early_file_of_keras_2(tmp_path):
    """No input layer, a list for a config, dtypes in initializers, no ``reset_after``."""
    initializer = {"class_name": "Zeros", "config": {"dtype": "float32"}}
    entry = {
        "class_name": "GRU",
        "config": {
            "name": "gru", "batch_input_shape": [None, 5, 3], "units": 4, "dtype": "float32",
            "recurrent_activation": "hard_sigmoid", "implementation": 1,
            "kernel_initializer": initializer, "bias_initializer": initializer,
        },
    }  # fmt: skip
    old = tf_keras.Sequential(
        [Input((5, 3)), layers.GRU(4, recurrent_activation="hard_sigmoid", reset_after=False)]
    )
    write_hdf5(
        tmp_path / "m.h5",
        {"class_name": "Sequential", "config": [entry]},
        {"gru": old.get_weights()},
        "2.1.3",
    )
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_allclose(load_keras(tmp_path / "m.h5")(x), old(x), atol=1e-6)


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_layers_laid_out_for_cudnn(kind, gates, tmp_path):
    model = keras.Sequential([keras.Input((5, 3)), getattr(keras.layers, kind)(4, name="r")])
    random = np.random.default_rng(0)
    kernel, recurrent, bias = (random.normal(size=w.shape).astype("f4") for w in model.weights)
    model.set_weights([kernel, recurrent, bias])
    config = {"name": "r", "batch_input_shape": [None, 5, 3], "units": 4}
    laid_out = [
        np.hstack([k.T.reshape(k.shape) for k in np.hsplit(kernel, gates)]),
        np.hstack([k.T for k in np.hsplit(recurrent, gates)]),
        np.ravel(bias if kind == "GRU" else [0.25 * bias, 0.75 * bias]),
    ]
    entry = {"class_name": f"CuDNN{kind}", "config": config}
    entry = {"class_name": "Sequential", "config": [entry]}
    write_hdf5(tmp_path / "m.h5", entry, {"r": laid_out}, "2.2.4")
    x = random.normal(size=(2, 5, 3))
    np.testing.assert_allclose(load_keras(tmp_path / "m.h5")(x), model(x), atol=1e-6)


def test_kernels_of_theano_are_turned_round(tmp_path):
    random = np.random.default_rng(0)
    kernel, x = random.normal(size=(3, 3, 2, 4)).astype("f4"), random.normal(size=(1, 5, 5, 2))
    config = {"name": "c", "batch_input_shape": [None, 5, 5, 2], "filters": 4, "use_bias": False}
    entry = {"class_name": "Conv2D", "config": config | {"kernel_size": [3, 3]}}
    entry = {"class_name": "Sequential", "config": [entry]}
    write_hdf5(tmp_path / "m.h5", entry, {"c": [kernel]}, "2.0.8", "theano")
    expected = keras.ops.conv(x.astype("f4"), kernel[::-1, ::-1].copy())
    np.testing.assert_allclose(load_keras(tmp_path / "m.h5")(x), expected, atol=1e-5)


def test_an_argument_that_keras_3_cannot_honour_is_named(tmp_path):
    config = {"name": "n", "batch_input_shape": [None, 4], "virtual_batch_size": 2}
    entry = {"class_name": "BatchNormalization", "config": config}
    entry = {"class_name": "Sequential", "config": [entry]}
    write_hdf5(tmp_path / "m.h5", entry, {}, "2.4.0")
    with pytest.raises(
        ModelError, match=r"layer n \(BatchNormalization\) has virtual_batch_size=2"
    ):
        load_keras(tmp_path / "m.h5")


def rewritten(path, change):
    """An archive with another config."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config["config"]["layers"][1])
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.update(module="harmful"),
        lambda layer: layer.update(registered_name="harmful>Dense"),
        lambda layer: layer["config"].update(
            activation={"module": "os", "class_name": "function", "config": "system"}
        ),
        lambda layer: layer["config"].update(
            activation={"class_name": "function", "config": {"class_name": "Lambda", "config": {}}}
        ),
    ],
)
def test_nothing_but_kerass_own_reaches_tf_keras(change, tmp_path, monkeypatch):
    save(hard_sigmoid(), tmp_path / "model.keras")
    rewritten(tmp_path / "model.keras", change)
    monkeypatch.setattr(tf_keras.models, "model_from_json", lambda text: pytest.fail(text))
    with pytest.raises(ModelError):
        load_keras(tmp_path / "model.keras")


def link(group):
    group["elsewhere"] = h5py.ExternalLink("/etc/secret.h5", "/")


def external(group):
    group.create_dataset("elsewhere", (4,), "f4", external="/etc/passwd")


def bomb(group):
    group.create_dataset("huge", (2**40,), "f4", chunks=(2**20,), compression="gzip")


@pytest.mark.parametrize(
    ("add", "message"),
    [(link, "a link to elsewhere"), (external, "from another file"), (bomb, "claims 4398 GB")],
)
def test_a_file_that_leads_to_others_or_claims_too_much_is_refused(add, message, tmp_path):
    save(hard_sigmoid(), tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        add(file["model_weights"])
    with pytest.raises(ModelError, match=message):
        load_keras(tmp_path / "model.h5")
