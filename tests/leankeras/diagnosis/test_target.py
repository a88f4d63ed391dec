import os
import sys

import keras
import pytest
from IPython.core.interactiveshell import InteractiveShell

from leankeras.diagnosis.diagnosis import diagnose
from leankeras.errors import ModelError

CODE = """
import keras
from helpers import FACTOR

class Scale(keras.Layer):
    def call(self, x):
        return x * FACTOR

class Fails(keras.Layer):
    def __init__(self):
        raise RuntimeError("no licence")

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
number = 3
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "helpers.py").write_text("FACTOR = 2.0\n")
    (tmp_path / "broken.py").write_text("import keras\n1 / 0\n")
    (tmp_path / "quits.py").write_text("raise SystemExit(3)\n")
    yield tmp_path
    sys.modules.pop("helpers", None)


def test_a_file_may_import_what_stands_beside_it(folder):
    path = f"{folder}/mine.py:Scale"
    before = list(sys.path)
    found = diagnose(path, (4,))
    assert found.target == path
    assert [finding.rule for finding in found.findings] == ["unregistered"]
    assert found.findings[0].where == f"{folder}/mine.py:5"
    assert sys.path == before


def test_a_model_in_a_file(folder):
    assert diagnose(f"{folder}/mine.py:model").findings == ()


def test_a_module():
    assert [one.rule for one in diagnose("keras.layers:Dense").findings] == ["not-tried"]
    rules = [one.rule for one in diagnose("kopt.cases.signal:CustomConv").findings]
    assert rules == ["loop-over-filters", "not-tried"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.py:Nothing", "has no Nothing; its layer classes are Scale, Fails"),
        ("mine.py:number", "is a int; expected a layer"),
        ("mine.py:Fails", r"Fails\(\) fails: RuntimeError: no licence"),
        ("broken.py:Layer", "fails when it is run: ZeroDivisionError"),
        ("quits.py:Layer", "fails when it is run: SystemExit: 3"),
        ("absent.py:Layer", "no such file"),
        ("absent.keras", "no such file"),
        ("absent", "expected a layer, a layer class, a model"),
        ("nowhere.at.all:Layer", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_path_that_leads_nowhere(folder, name, message):
    path = os.path.join(folder, name) if "nowhere" not in name else name
    with pytest.raises(ModelError, match=message) as error:
        diagnose(path)
    assert "\n" not in str(error.value)


def test_a_keras_file(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    assert diagnose(tmp_path / "model.keras").findings == ()


def test_a_keras_file_with_a_lambda_is_not_run(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match="holds a Lambda layer, which is code and is not run"):
        diagnose(tmp_path / "model.keras")


def test_a_keras_file_of_a_class_that_is_not_here(tmp_path):
    @keras.saving.register_keras_serializable("gone")
    class Gone(keras.Layer):
        def call(self, x):
            return x

    keras.Sequential([keras.Input((4,)), Gone()]).save(tmp_path / "model.keras")
    del keras.saving.get_custom_objects()["gone>Gone"]
    with pytest.raises(ModelError, match="Keras does not know class 'Gone'"):
        diagnose(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .keras"),
        (b"PK not really", "not a .keras"),
        (b"\x89HDF\r\n", "cannot open it in safe mode"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path, content, message):
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        diagnose(tmp_path / "model.keras")


def test_a_class_in_a_notebook_cell_has_a_source():
    shell = InteractiveShell.instance()
    cell = "\n".join(
        [
            "import keras",
            "class Cell(keras.Layer):",
            "    def call(self, x):",
            "        return keras.ops.stack([x**power for power in range(9)], axis=-1)",
        ]
    )
    assert shell.run_cell(cell).success
    rules = {finding.rule: finding for finding in diagnose(shell.user_ns["Cell"]()).findings}
    assert rules["python-loop"].where.endswith(":4")
    assert "no-source" not in rules
