import subprocess
import sys

import keras
import numpy as np
import pytest

from kopt.deployment.formats import save_model
from kopt.errors import ConversionError, ParameterError


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
    with pytest.raises(ConversionError, match="away after loading in a fresh process"):
        save_model(model, tmp_path / "m.keras", np.ones((2, 4)))
    assert not (tmp_path / "m.keras").exists()


def test_layers_of_a_script_and_unknown_endings_are_refused(model, samples, tmp_path):
    with pytest.raises(ParameterError, match=r"m\.pb: expected a name that ends in \.keras"):
        save_model(model, tmp_path / "m.pb", samples)
    script = (
        "import keras, numpy, sys\n"
        "from kopt.deployment.formats import save_model\n"
        "from kopt.errors import ConversionError\n"
        "class Mine(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x\n"
        "model = keras.Sequential([keras.Input((4,)), Mine()])\n"
        "try:\n"
        f"    save_model(model, {str(tmp_path / 'm.keras')!r}, numpy.ones((2, 4)))\n"
        "except ConversionError as error:\n"
        "    sys.exit('notebook or script' not in str(error))\n"
        "sys.exit(2)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
