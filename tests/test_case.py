import keras
import numpy as np
import pytest

from kopt.case import BUILT_IN, Case, case_name, find_case
from kopt.errors import KoptError
from kopt.measurement.equivalence import check_equivalence
from kopt.rewriting import replace_layers

MY_CASE = """
from dataclasses import replace
from kopt.cases.signal import CASE

case = replace(CASE, name="mine")
number = 3
"""


def test_a_case_of_ones_own_is_found_in_a_file(tmp_path):
    path = tmp_path / "my case ü.py"
    path.write_text(MY_CASE)
    found = find_case(f"{path}:case")
    assert isinstance(found, Case)
    assert case_name(f"{path}:case") == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sginal", "saw 'sginal'; expected signal, vision, stream, or FILE.py:NAME"),
        ("{folder}/none.py:case", "no such file"),
        ("{folder}/broken.py:case", "fails when it is run: ZeroDivisionError: division by zero"),
        ("{folder}/mine.py:number", "'number' in .* is int; expected a kopt.Case"),
        ("{folder}/mine.py:missing", "'missing' in .* is NoneType"),
    ],
)
def test_what_is_no_case_is_refused(tmp_path, name, message):
    (tmp_path / "mine.py").write_text(MY_CASE)
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(KoptError, match=message):
        find_case(name.format(folder=tmp_path))


@pytest.fixture(scope="module", params=BUILT_IN)
def case(request) -> Case:
    return find_case(request.param)


def test_a_cases_models_take_its_data(case):
    data = case.load()
    for build in (case.build, case.build_teacher):
        outputs = np.asarray(build()(data.x_test[:2]))
        assert outputs.shape == (2, data.classes)


def test_a_cases_slow_model_is_saved_and_loaded_in_safe_mode(case, tmp_path):
    model = case.build()
    model.save(tmp_path / "slow.keras")
    loaded = keras.saving.load_model(tmp_path / "slow.keras", safe_mode=True)
    x = case.load().x_test[:2]
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-5, atol=1e-6)


def test_every_rewrite_of_a_case_is_equivalent(case):
    model = case.build()
    layer = next(layer for layer in model.layers if isinstance(layer, case.slow_layer))
    for rewrite in case.rewrites:
        result = check_equivalence(
            layer, rewrite.make(layer), layer.input.shape[1:], port=rewrite.port
        )
        assert result.equivalent, f"{rewrite.name}: {result.reason}"


def test_a_rewritten_model_computes_the_same_and_keeps_its_layer_names(case):
    model, x = case.build(), case.load().x_test[:8]
    for rewrite in case.rewrites:
        fast = replace_layers(model, case.slow_layer, rewrite)
        np.testing.assert_allclose(fast(x), model(x), rtol=1e-4, atol=1e-4)
        assert [layer.name for layer in fast.layers] == [layer.name for layer in model.layers]
        assert not any(isinstance(layer, case.slow_layer) for layer in fast.layers)
