import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import kopt
import leankeras
from kopt import errors as workbook_errors
from leankeras import errors

FOLDER = Path(leankeras.__file__).parent
WINGS = [f"leankeras.{path.parent.name}" for path in FOLDER.glob("*/__init__.py")]


def python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return run.stdout


def test_importing_kopt_imports_neither_tensorflow_nor_jupyter():
    loaded = python("import sys, kopt; print(*sys.modules)").split()
    assert not {"tensorflow", "keras", "jupyterlab", "IPython", "numpy"} & set(loaded)


@pytest.mark.parametrize("package", [kopt, leankeras])
def test_every_public_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_the_workbook_hands_on_the_library():
    for name in leankeras.__all__:
        assert getattr(kopt, name) is getattr(leankeras, name)


FACES = [kopt, leankeras, *map(import_module, WINGS)]


@pytest.mark.parametrize("package", FACES, ids=lambda package: package.__name__)
def test_no_module_is_named_like_a_public_name_beside_it(package):
    modules = {path.stem for path in Path(package.__file__).parent.iterdir()}
    assert not modules & set(package.__all__)


BARE = """
import sys

class Missing:
    def find_spec(self, name, path, target=None):
        if name in ("keras", "tensorflow", "tf_keras", "tensorflow_model_optimization"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from leankeras.cli import main
main(sys.argv[1:])
"""


def test_a_bare_installation_says_what_it_lacks():
    command = [sys.executable, "-c", BARE, "diagnose", "mine.py:Layer"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == (
        "leankeras: diagnose needs keras, which a bare installation leaves out; install "
        "leankeras[keras]\n"
    )


def test_tensorflow_starts_without_a_word():
    code = (
        "import kopt, tensorflow as tf; print(float(tf.function(lambda x: x + 1)(tf.constant(1.))))"
    )
    assert python(code) == "2.0\n"


def test_every_error_is_a_kopt_error():
    for name, error in {**vars(errors), **vars(workbook_errors)}.items():
        if isinstance(error, type) and name != "JobError":  # which never leaves the library
            assert issubclass(error, kopt.KoptError), name
