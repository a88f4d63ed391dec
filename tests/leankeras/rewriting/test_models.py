"""Every layer of a model that can be rewritten, in a new model; and the command."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.cases.signal import CustomConv
from leankeras import cli
from leankeras.errors import ModelError, RewriteError
from leankeras.rewriting import measurement, rewriting
from leankeras.rewriting.models import rewrite_model
from tests.layers.well_written import RootMeanSquareNorm
from tests.leankeras.rewriting.trying import first_is_fastest, run_source

LAYERS = """
import keras
import tensorflow as tf

class Filters(keras.Layer):
    def __init__(self, count=3):
        super().__init__()
        self.count = count

    def build(self, shape):
        self.kernels = [self.add_weight(shape=(shape[-1], 1)) for _ in range(self.count)]

    def call(self, x):
        return tf.concat([x @ kernel for kernel in self.kernels], axis=-1)

class Needy(Filters):
    def __init__(self, count):
        super().__init__(count)

four = Needy(4)
"""


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 3))
    x = CustomConv(4, 3, name="slow")(inputs)
    x = RootMeanSquareNorm(name="norm")(x)
    x = CustomConv(3, 3, name="slower")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x), name="net")


def test_each_custom_layer_is_rewritten_or_left(model):
    found = rewrite_model(model, measure=first_is_fastest)
    kinds = [type(layer).__name__ for layer in found.layer.layers]
    assert kinds == ["InputLayer", "Conv1D", "RootMeanSquareNorm", "Conv1D",
                     "GlobalAveragePooling1D"]  # fmt: skip
    names = [[layer.name for layer in each.layers[1:]] for each in (found.layer, model)]
    assert names[0] == names[1]
    assert any(step.startswith("left as it is: norm: nothing to gain") for step in found.steps)
    assert found.equivalence.equivalent
    x = np.random.default_rng(0).normal(size=(4, 12, 3)).astype("float32")
    np.testing.assert_allclose(model(x), found.layer(x), atol=1e-5)
    assert found.source.count("import keras") == 1
    layer, port = run_source(found.source, part="_2")
    old = model.get_layer("slower")
    layer.build(old.input.shape)
    port(old, layer)
    hidden = np.random.default_rng(0).normal(size=(2, *old.input.shape[1:])).astype("float32")
    np.testing.assert_allclose(layer(hidden), old(hidden), atol=1e-5)


@keras.saving.register_keras_serializable("tests>nested")
class Steps(keras.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x):
        return tf.stack([tf.tanh(x[:, t] @ self.kernel) for t in range(x.shape[1])], axis=1)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)


@pytest.fixture(scope="module")
def nested():
    """Two models in one, of which one is called twice, a Sequential one and two wrappers."""
    keras.utils.set_random_seed(0)

    def block(name):
        inputs = keras.Input((4, 3))
        return keras.Model(inputs, Steps(name="steps")(inputs) * 2.0, name=name)

    x, frames = keras.Input((4, 3)), keras.Input((5, 4, 3))
    scale = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])
    last = keras.Sequential([keras.Input((4, 3)), scale, Steps(name="steps")], name="last")
    twice = block("twice")
    outputs = [
        last(block("once")(twice(twice(x)))),
        keras.layers.TimeDistributed(block("frame"), name="frames")(frames),
        keras.layers.TimeDistributed(Steps(name="inner"), name="wrapped")(frames),
    ]
    return keras.Model([x, frames], outputs, name="outer")


def test_layers_in_models_in_a_model_are_rewritten(nested, tmp_path, monkeypatch):
    searched = []
    search = rewriting._search
    monkeypatch.setattr(
        rewriting, "_search", lambda *given: searched.append(given) or search(*given)
    )
    found = rewrite_model(nested, measure=first_is_fastest)
    assert len(searched) == 1  # they differ in their weights alone
    custom = [layer for layer in found.layer._flatten_layers() if isinstance(layer, Steps)]
    assert not custom
    paths = {step.partition(":")[0] for step in found.steps}
    assert paths == {"twice/steps", "once/steps", "last/steps", "frames/frame/steps",
                     "wrapped/inner"}  # fmt: skip
    found.layer.save(tmp_path / "fast.keras")
    loaded = keras.models.load_model(tmp_path / "fast.keras", safe_mode=True)
    random = np.random.default_rng(0)
    given = [random.normal(size=shape).astype("float32") for shape in ((2, 4, 3), (2, 5, 4, 3))]
    for wanted, fast, back in zip(*(m(given) for m in (nested, found.layer, loaded)), strict=True):
        np.testing.assert_allclose(wanted, fast, atol=1e-6)
        np.testing.assert_array_equal(fast, back)


def test_a_layer_that_only_looks_alike_is_searched_for_itself():
    @keras.saving.register_keras_serializable("tests>alike")
    class Scaled(Steps):
        factor = 1.0

        def call(self, x):
            return super().call(x * self.factor)

    inputs = keras.Input((4, 3))
    layers = [Scaled(name=name) for name in ("one", "two", "three")]
    layers[2].factor = 2.0
    outputs = layers[2](layers[1](layers[0](inputs)))
    found = rewrite_model(keras.Model(inputs, outputs), measure=first_is_fastest)
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    np.testing.assert_allclose(found.layer(x), layers[2](layers[1](layers[0](x))), atol=1e-6)


@keras.saving.register_keras_serializable("tests>called")
class Adding(keras.Layer):
    def call(self, x, context=None, offset=None, factor=1.0):
        steps = []
        for t in range(4):
            y = tf.tanh(tf.cast(x[:, t], "float32")) * factor
            y = y if context is None else y + context[:, t]
            steps.append(y if offset is None else y - offset[:, t])
        return tf.stack(steps, axis=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda layer, x, y: layer(x, context=y), None),
        (lambda layer, x, y: layer(x, offset=y), "called with offset="),
        (lambda layer, x, y: layer(x, y, factor=2.0), "called with factor="),
        (lambda layer, x, y: layer(layer(x, y)[:, :, :2], y[:, :, :2]), "of several shapes"),
    ],
)
def test_a_layer_is_called_in_the_copy_as_it_was_searched(call, said):
    inputs = [keras.Input((4, 3)), keras.Input((4, 3))]
    model = keras.Model(inputs, call(Adding(), *inputs))
    if said:
        with pytest.raises(RewriteError, match=said):
            rewrite_model(model, measure=first_is_fastest)
        return
    found = rewrite_model(model, measure=first_is_fastest)
    random = np.random.default_rng(0)
    given = [random.normal(size=(2, 4, 3)).astype("float32") for _ in range(2)]
    np.testing.assert_allclose(found.layer(given), model(given), atol=1e-6)


@keras.saving.register_keras_serializable("tests>called")
class Halves(keras.Layer):
    """Gives something else for 3 than for 3.0."""

    def call(self, x):
        return tf.stack([tf.cast(x[:, t] // 2, "float32") / 2.0 for t in range(4)], axis=1)


def test_inputs_are_of_the_types_they_have_in_the_model():
    inputs = keras.Input((4,), dtype="int32", name="steps")
    model = keras.Model({"steps": inputs}, Halves(name="halves")(inputs))
    found = rewrite_model(model, measure=first_is_fastest)
    given = {"steps": np.arange(8, dtype="int32").reshape(2, 4)}
    np.testing.assert_array_equal(found.layer(given), model(given))
    with pytest.raises(ModelError, match="rewritten for inputs of int32; saw float32"):
        found.layer.get_layer("halves")(np.ones((2, 4), "float32"))


def test_a_frozen_layer_stays_frozen():
    inputs = keras.Input((4, 3))
    layer = Steps(name="steps")
    model = keras.Model(inputs, layer(inputs))
    layer.trainable = False
    found = rewrite_model(model, measure=first_is_fastest)
    assert not found.layer.trainable_weights


def test_a_model_of_keras_layers_has_nothing_to_gain():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(RewriteError, match="nothing to gain; all of its layers are Keras's own"):
        rewrite_model(model)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(measurement, "measure", first_is_fastest)
    path = tmp_path / "layers.py"
    path.write_text(LAYERS)
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(["rewrite", *map(str, arguments)])
    return ended.value.code or 0


def test_the_command_writes_a_file_that_runs_by_itself(file, tmp_path, capsys):
    written = tmp_path / "fast.py"
    assert run(f"{file}:Filters", "--input-shape", "5,2", "-o", written) == 0
    assert "equivalent" in capsys.readouterr().out
    layer, _ = run_source(written.read_text())
    assert layer(np.ones((1, 5, 2))).shape == (1, 5, 3)
    assert run(f"{file}:four", "--input-shape", "5,2") == 0
    assert "def port(old, new):" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{file}:Needy", "--input-shape", "5,2"], "needs the constructor arguments count"),
        (["{file}:Filters"], "no known input shape"),
        (["{file}:Filters", "--input-shape", "a"], "input shape: saw 'a'"),
        (["{file}:Filters", "--input-shape", "5,2", "-o", "fast.txt"], "ends in .py"),
        (["missing.py:Filters", "--input-shape", "5,2"], "no such file"),
    ],
)
def test_bad_input_is_told_in_a_line(file, arguments, said, capsys):
    assert run(*(each.format(file=file) for each in arguments)) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
