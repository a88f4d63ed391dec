"""The commands on realistic files."""

import json
import sys

import keras
import numpy as np
import pytest

from leankeras.cli import main
from leankeras.runtime import LiteRTModel, TFLiteFile
from leankeras.scripts import import_module

LAYERS = """
import keras

@keras.saving.register_keras_serializable("cli_tests")
class Doubled(keras.layers.Dense):
    def call(self, inputs):
        return 2 * super().call(inputs)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of one and of two inputs, as both kinds of file, and samples for them."""
    folder, random = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    one = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="d")])
    inputs = [keras.Input((4,), name="a"), keras.Input((2,), name="b")]
    both = keras.layers.Dense(3)(keras.layers.Concatenate()(inputs))
    for name, model in (("one", one), ("two", keras.Model(inputs, both))):
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
    x, a, b = (random.normal(size=(20, n)).astype("float32") for n in (6, 4, 2))
    y = np.arange(20) % 3
    files = {
        "alone": {"x_train": x},
        "x": {"x": x, "y": y},
        "one_hot": {"x_train": x, "y_train": np.eye(3)[y], "x_test": x, "y_test": np.eye(3)[y]},
        "regression": {"x_train": x, "y_train": a, "x_test": x[:5], "y_test": a[:3]},
        "one_class": {"x_train": x, "y_train": 0 * y},
        "only": {"whatever": x, "y_train": np.array(["a", "b"])},
        "names": {"a": a, "b": b, "y_train": y},
        "prefixed": {"x_train/a": a, "x_train/b": b, "x_test/a": a, "x_test/b": b},
    }
    for name, arrays in files.items():
        np.savez(folder / f"{name}.npz", **arrays)
    np.savez(folder / "listed.npz", a, b)
    return folder


def run(*arguments):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


@pytest.mark.parametrize(
    ("model", "data"),
    [
        *(("one.h5", name) for name in ("alone", "one_hot", "regression", "one_class", "only")),
        ("one.keras", "x"),
        *(("two.h5", name) for name in ("names", "prefixed", "listed")),
    ],
)
def test_convert_calibrates_with_samples_alone(folder, model, data, tmp_path):
    output = tmp_path / "a.tflite"
    assert run("convert", folder / model, "-o", output, "--data", folder / f"{data}.npz") == 0
    assert TFLiteFile(output).tensor_types["int8"] >= 3
    assert len(TFLiteFile(output).inputs) == (2 if model.startswith("two") else 1)


def test_bench_takes_several_inputs_invented_or_given(folder, tmp_path, capsys):
    output = tmp_path / "two.tflite"
    run("convert", folder / "two.keras", "-o", output, "--mode", "float32")
    capsys.readouterr()
    for given in ([], ["--samples", folder / "names.npz"]):
        assert run("bench", output, folder / "two.h5", *given, "--json") == 0
        assert len(json.loads(capsys.readouterr().out)["targets"]) == 2


def test_custom_layers_come_from_a_module_that_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_layers.py").write_text(LAYERS)
    model = keras.Sequential([keras.Input((4,)), import_module("cli_layers").Doubled(2)])
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    for name in ("m.keras", "m.h5"):
        model.save(name)
        del sys.modules["cli_layers"]
        keras.saving.get_custom_objects().pop("cli_tests>Doubled")
        arguments = ["convert", name, "-o", "m.tflite", "--mode", "float32"]
        assert run(*arguments) == 2
        assert "--import MODULE" in capsys.readouterr().err
        assert run(*arguments, "--import", "cli_layers") == 0
        np.testing.assert_allclose(LiteRTModel("m.tflite")(x), model(x), atol=1e-5)
        assert run("bench", "m.tflite", name, "--import", "cli_layers") == 0
        assert run("convert", name, "-o", f"again-{name}", "--import", "cli_layers.py") == 0


DIAGNOSED = """
import keras

@keras.saving.register_keras_serializable("cli_tests")
class Sum(keras.Layer):
    def call(self, inputs):
        return keras.layers.add(list(inputs.values()) if isinstance(inputs, dict) else inputs)

@keras.saving.register_keras_serializable("cli_tests")
class Looks(keras.Layer):
    def build(self, input_shape):
        self.embedding = keras.layers.Embedding(9, 2)
        self.embedding.build(input_shape)

    def call(self, x):
        return self.embedding(x)
"""


def test_diagnose_takes_several_inputs_samples_and_modules(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diagnosed.py").write_text(DIAGNOSED)
    np.savez("tokens.npz", x_train=np.arange(9).reshape(3, 3), y_train=[0, 1, 2])
    for arguments in (
        ["diagnosed.py:Sum", "--input-shape", "4,2", "--input-shape", "4,2"],
        ["diagnosed.py:Sum", "--input-shape", "a=4,2", "--input-shape", "b=4,2"],
        ["diagnosed.py:Looks", "--samples", "tokens.npz"],
    ):
        assert run("diagnose", *arguments, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["findings"] == []
        assert told["observed"]["graph nodes"] > 0
    keras.Sequential([keras.Input((3,)), import_module("diagnosed").Looks()]).save("m.keras")
    del sys.modules["diagnosed"]
    for name in ("Sum", "Looks"):
        keras.saving.get_custom_objects().pop(f"cli_tests>{name}")
    assert run("diagnose", "m.keras") == 2
    assert "--import MODULE" in capsys.readouterr().err
    assert run("diagnose", "m.keras", "--samples", "tokens.npz", "--import", "diagnosed") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input-shape", "4", "--input-shape", "b=4"], "expected names for all shapes, or"),
        (["--input-shape", "a=4", "--input-shape", "a=4"], "expected names for all shapes, or"),
        (["--input-shape", "a=x"], "input shape: saw 'x'"),
        (["--samples", "none.npz"], "none.npz: no such file; expected an .npz"),
        (["--import", "none_of_that_name"], "module none_of_that_name cannot be imported"),
    ],
)
def test_what_diagnose_refuses(arguments, message, capsys):
    assert run("diagnose", "keras.layers:Dense", *arguments) == 2
    assert message in capsys.readouterr().err
