"""The programs printed in docs/your_model.md do what the page says."""

import re
import subprocess
import sys

import numpy as np
import pytest

from kopt.cases.catalogue import find_case
from kopt.project import DATA, ROOT
from leankeras.equivalence.comparison import check_equivalence

PAGE = (ROOT / "docs" / "your_model.md").read_text()
MODEL_SCRIPT, CASE_SCRIPT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(DATA)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pages_model_and_data_are_a_case(checkout):
    short = MODEL_SCRIPT.replace("epochs=4", "epochs=1")
    assert short != MODEL_SCRIPT
    subprocess.run([sys.executable, "-c", short], check=True, capture_output=True)
    case = find_case("clothes.keras:clothes.npz")
    data = case.load()
    outputs = np.asarray(case.build()(data.x_test[:8]))
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-5)
    assert (case.name, case.rewrites, case.build_teacher) == ("clothes", (), None)


def test_the_pages_case_has_a_right_rewrite(checkout):
    (checkout / "my_case.py").write_text(CASE_SCRIPT)
    case = find_case("my_case.py:case")
    model = case.build()
    slow = next(layer for layer in model.layers if isinstance(layer, case.slow_layer))
    (rewrite,) = case.rewrites
    shape = slow.input.shape[1:]
    assert check_equivalence(slow, rewrite.make(slow), shape, port=rewrite.port).equivalent
    assert case.build_teacher().output_shape == model.output_shape == (None, case.load().classes)
