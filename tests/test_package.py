import subprocess
import sys

import pytest

import kopt
from kopt.project import ROOT
from leankeras import errors


def python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return run.stdout


def test_importing_kopt_imports_neither_tensorflow_nor_jupyter():
    loaded = python("import sys, kopt; print(*sys.modules)").split()
    assert not {"tensorflow", "keras", "jupyterlab", "IPython", "numpy"} & set(loaded)


def test_every_public_name_is_there():
    for name in kopt.__all__:
        assert getattr(kopt, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kopt.nothing  # noqa: B018


def test_no_module_of_the_root_is_named_like_a_public_function():
    modules = {path.stem for path in (ROOT / "kopt").iterdir()}
    assert not modules & set(kopt.__all__)


def test_tensorflow_starts_without_a_word():
    code = (
        "import kopt, tensorflow as tf; print(float(tf.function(lambda x: x + 1)(tf.constant(1.))))"
    )
    assert python(code) == "2.0\n"


def test_every_error_is_a_kopt_error():
    for name, error in vars(errors).items():
        if isinstance(error, type):
            assert issubclass(error, kopt.KoptError), name
