"""Malicious files: whatever opens them, nothing in them runs."""

import ast
import base64
import json
import marshal
import pickle
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import leankeras
from kopt.project import ROOT
from leankeras.child import JobError
from leankeras.conversion import converter
from leankeras.data import Data
from leankeras.errors import DataError, KoptError, ModelError
from leankeras.runtime import load_keras

PACKAGE = Path(leankeras.__file__).parent


@pytest.fixture
def marker(tmp_path, monkeypatch) -> Path:
    """A file that only harmful code would write, and a module that writes it when imported."""
    marker = tmp_path / "harm was done"
    (tmp_path / "harmful.py").write_text(
        f"open({str(marker)!r}, 'w').close()\ndef run(x): return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return marker


def harmful_lambda(marker: Path) -> dict:
    code = compile(f"open({str(marker)!r}, 'w').close()", "harm", "exec")
    text = base64.b64encode(marshal.dumps(code)).decode()
    return {"class_name": "__lambda__", "config": {"value": [text, None, None]}}


def function(module: str, name: str) -> dict:
    return {"class_name": "function", "config": name, "module": module, "registered_name": name}


ACTIVATIONS = {
    "bytecode": harmful_lambda,
    "a module on the path": lambda marker: function("harmful", "run"),
    "exec": lambda marker: function("builtins", "exec"),
    "os.system": lambda marker: function("os", "system"),
    "a download": lambda marker: function("keras.utils", "get_file"),
    "the switch of safe mode": lambda marker: function(
        "keras.config", "enable_unsafe_deserialization"
    ),
    "a class of a module on the path": lambda marker: {
        "class_name": "Popen",
        "config": {"args": ["touch", str(marker)]},
        "module": "subprocess",
        "registered_name": None,
    },
    "a layer around bytecode": lambda marker: {
        "class_name": "Lambda",
        "config": {"name": "l", "function": harmful_lambda(marker)},
        "module": "keras.layers",
        "registered_name": None,
    },
}


@pytest.fixture
def harmful(request, model, marker, tmp_path) -> Path:
    """A .keras whose first layer has a harmful activation."""
    model.save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    layer = next(entry for entry in config["config"]["layers"] if "activation" in entry["config"])
    layer["config"]["activation"] = ACTIVATIONS[request.param](marker)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "harmful.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return tmp_path / "harmful.keras"


@pytest.mark.parametrize("harmful", ACTIVATIONS, indirect=True)
def test_nothing_in_a_keras_file_runs(harmful, marker, tmp_path, samples):
    openings = (
        lambda: load_keras(harmful),
        lambda: leankeras.convert(harmful, tmp_path / "a.tflite", "float32"),
        lambda: leankeras.compare_latency({"harmful": harmful}, samples[:1]),
        lambda: leankeras.evaluate(harmful, samples, np.zeros(len(samples), int)),
        lambda: leankeras.diagnose(harmful),
    )
    for opened in openings:
        with pytest.raises(KoptError) as refused:
            opened()
        assert "\n" not in str(refused.value)
    assert not marker.exists()
    lambda_layer = keras.layers.Lambda(lambda x: 2 * x, output_shape=(4,))
    keras.Sequential([keras.Input((4,)), lambda_layer]).save(tmp_path / "lambda.keras")
    with pytest.raises(ModelError, match="holds a Lambda layer"):  # safe mode is still on
        load_keras(tmp_path / "lambda.keras")


@pytest.mark.parametrize("harmful", ["bytecode", "a module on the path"], indirect=True)
def test_the_child_refuses_it_as_well(harmful, marker, tmp_path):
    with pytest.raises(JobError):
        converter.shared.request(
            "run_keras",
            path=str(harmful),
            modules=[],
            search_path=[str(tmp_path)],
            structure="x",
            samples=str(tmp_path / "none.npz"),
            output=str(tmp_path / "out.npz"),
        )
    assert not marker.exists()


class Harm:
    """What pickle makes into a call when it reads it."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def object_arrays(path: Path, harm: Harm) -> None:
    y = np.arange(8) % 2
    np.savez(path, x_train=np.array([harm] * 8), y_train=y, x_test=np.zeros((8, 2)), y_test=y)


def renamed_pickle(path: Path, harm: Harm) -> None:
    path.write_bytes(pickle.dumps({"x_train": harm}))


@pytest.mark.parametrize("write", [object_arrays, renamed_pickle])
def test_nothing_in_a_data_file_runs(write, marker, tmp_path):
    write(tmp_path / "data.npz", Harm(marker))
    with pytest.raises(DataError):
        Data.load(tmp_path / "data.npz")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Harm(marker)))
    assert marker.exists()  # so the test is a fair one


def test_the_bytecode_is_a_fair_trial(marker):
    text = harmful_lambda(marker)["config"]["value"][0]
    exec(marshal.loads(base64.b64decode(text)))
    assert marker.exists()


CALLS = {"eval", "exec", "compile", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
CALLS |= {"tf_keras.models.load_model", "keras.config.enable_unsafe_deserialization"}
KEYWORDS = {"allow_pickle=True", "safe_mode=False", "shell=True"}
MODULES = {"pickle", "marshal", "dill", "cloudpickle", "joblib", "shelve"}


def unsafe(path: Path) -> set[str]:
    """What of the above a module calls, passes or imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    calls = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    keywords = {
        f"{node.arg}={ast.unparse(node.value)}" for node in nodes if isinstance(node, ast.keyword)
    }
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return calls & CALLS | keywords & KEYWORDS | modules & MODULES


def test_no_module_could_open_a_file_unsafely():
    modules = [*PACKAGE.rglob("*.py"), *(ROOT / "kopt").rglob("*.py")]
    found = {str(path): unsafe(path) for path in modules}
    assert {name: calls for name, calls in found.items() if calls} == {}
    assert unsafe(Path(__file__)) == {"exec", "compile", "pickle", "marshal"}


def test_keras_2_is_imported_where_the_twin_lives_and_for_its_own_archives():
    importing = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) tf_keras", path.read_text(), re.MULTILINE)
    }
    places = {name.partition("/")[0] for name in importing}
    assert places == {"twin", "pruning.py", "clustering.py", "quantization", "runtime"}
    # only tf_keras knows where its archives keep each weight
    assert {name for name in importing if name.startswith("runtime")} == {
        "runtime/model_files/keras2_archive.py"
    }
