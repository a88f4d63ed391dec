import keras
import numpy as np
import pytest

from leankeras.conversion.formats import save_model
from leankeras.errors import ConversionError, ParameterError


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.onnx", "serving"])
def test_each_format_loads_elsewhere_as_the_same_function(model, samples, tmp_path, name):
    saved = save_model(model, tmp_path / name, samples)
    assert saved.max_abs_diff < 1e-6
    assert saved.size_bytes > 4 * model.count_params()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_the_saved_model_serves_batches_of_any_size(model, samples, tmp_path):
    import tensorflow as tf

    save_model(model, tmp_path / "serving", samples)
    signature = tf.saved_model.load(tmp_path / "serving").signatures["serving_default"]
    for size in (1, 7):
        batch = signature(x=tf.constant(samples[:size]))["output"]
        assert np.allclose(batch, model(samples[:size]), atol=1e-6)


def test_an_onnx_file_is_usable_elsewhere(samples, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = two_inputs()
    a, b = samples[:, 0], samples[:, 1]
    assert save_model(model, tmp_path / "m.onnx", {"a": a, "b": b}).max_abs_diff < 1e-6
    graph = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert {entry.domain: entry.version for entry in graph.opset_import}[""] == 18
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert {entry.name: entry.shape[1:] for entry in session.get_inputs()} == {"a": [2], "b": [2]}
    for size in (1, 7):
        given = {"a": a[:size], "b": b[:size]}
        results = session.run(["difference", "gelu"], given)
        expected = model(given)
        assert np.allclose(results[0], expected["difference"], atol=1e-6)
        assert np.allclose(results[1], expected["gelu"], atol=1e-6)


def two_inputs():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    # A normalization's mean is a constant, not a variable.
    scaled = keras.layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0])(b)
    outputs = {"difference": a - 3 * b, "gelu": keras.layers.Activation("gelu")(scaled)}
    return keras.Model({"a": a, "b": b}, outputs)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (keras.ops.inv, "ONNX has no operator for MatrixInverse of (inv|MatrixInverse|Inv)"),
        (lambda x: keras.layers.GaussianNoise(1.0)(x) * np.nan, "holds NaN or Inf on the samples"),
    ],
)
def test_what_onnx_cannot_hold_is_named(function, message, tmp_path):
    pytest.importorskip("tf2onnx")
    inputs = keras.Input((4, 4))
    model = keras.Model(inputs, function(inputs))
    with pytest.raises(ConversionError, match=message):
        save_model(model, tmp_path / "m.onnx", np.eye(4)[None].repeat(4, 0))
    assert not list(tmp_path.iterdir())


def test_formats_are_verified_without_samples_too(model, tmp_path):
    assert save_model(model, tmp_path / "m.keras").max_abs_diff == 0


def test_custom_layers_come_from_their_module(tmp_path, monkeypatch):
    (tmp_path / "my_layers.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('tests')\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from my_layers import Twice

    model = keras.Sequential([keras.Input((4,)), Twice()])
    assert save_model(model, tmp_path / "m.keras", np.ones((2, 4))).max_abs_diff == 0


def test_an_unregistered_layer_is_named(tmp_path, monkeypatch):
    (tmp_path / "plain_layer.py").write_text(
        "import keras\n"
        "class Plain(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from plain_layer import Plain

    model = keras.Sequential([keras.Input((4,)), Plain()])
    with pytest.raises(ConversionError, match=r"'Plain'.*register_keras_serializable"):
        save_model(model, tmp_path / "m.keras", np.ones((2, 4)))


def test_what_is_not_saved_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "drawn_layer.py").write_text(
        "import keras, numpy as np\n"
        "@keras.saving.register_keras_serializable('tests')\n"
        "class Drawn(keras.layers.Layer):\n"
        "    def __init__(self, **options):\n"
        "        super().__init__(**options)\n"
        "        self.constant = float(np.random.default_rng().normal())\n"
        "    def call(self, x):\n"
        "        return x + self.constant\n"
    )
    from drawn_layer import Drawn

    model = keras.Sequential([keras.Input((4,)), Drawn()])
    with pytest.raises(ConversionError, match=r"is off by .* after loading in a fresh process"):
        save_model(model, tmp_path / "m.keras", np.ones((2, 4)))
    assert not (tmp_path / "m.keras").exists()


def test_an_unknown_ending_is_refused(model, samples, tmp_path):
    with pytest.raises(ParameterError, match=r"m\.pb: expected a name that ends in \.keras"):
        save_model(model, tmp_path / "m.pb", samples)


def test_a_layer_of_a_notebook_is_refused_before_it_is_saved(tmp_path, monkeypatch):
    class Mine(keras.layers.Layer):
        def call(self, x):
            return x

    monkeypatch.setattr(Mine, "__module__", "__main__")
    model = keras.Sequential([keras.Input((4,)), Mine()])
    with pytest.raises(ConversionError, match="defined in a notebook or script"):
        save_model(model, tmp_path / "m.keras", np.ones((2, 4)))
    assert not list(tmp_path.iterdir())
