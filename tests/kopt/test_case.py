import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from kopt.case import Case, Epochs
from kopt.cases import nodule
from kopt.cases.catalogue import BUILT_IN, absolute_case, case_files, case_name, find_case
from leankeras.equivalence.comparison import check_equivalence
from leankeras.errors import KoptError, ParameterError
from leankeras.rewriting.replacement import replace_layers
from leankeras.scripts import import_module
from tests.saving import save_data

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
        (
            "sginal",
            "saw 'sginal'; expected signal, vision, stream, nodule, FILE.py:NAME, or "
            "MODEL.keras:DATA",
        ),
        ("{folder}/none.py:case", "no such file"),
        ("{folder}/broken.py:case", "fails when it is run: ZeroDivisionError: division by zero"),
        ("{folder}/mine.py:number", "'number' in .* is int; expected a kopt.Case"),
        ("{folder}/mine.py:missing", "has no 'missing'; its cases are CASE, case"),
        ("{folder}/signal.keras:data.npz", "signal is the name of a built-in case"),
    ],
)
def test_what_is_no_case_is_refused(tmp_path, name, message):
    (tmp_path / "mine.py").write_text(MY_CASE)
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(KoptError, match=message):
        find_case(name.format(folder=tmp_path))


@pytest.fixture
def trained(small_model, blobs, tmp_path):
    """The two files of a trained model's case, in a folder whose name is not easy."""
    folder = tmp_path / "mein Ordner ü: 1"
    folder.mkdir()
    model, data = folder / "Mein Modell.keras", folder / "data.npz"
    small_model.save(model)
    save_data(data, blobs)
    return model, data


def test_a_trained_model_and_its_data_are_a_case(trained, small_model, blobs):
    model, data = trained
    case = find_case(f"{model}:{data}")
    assert (case.name, case.slow_layer, case.rewrites) == ("Mein Modell", None, ())
    assert (case.epochs.profile, case.budget.accuracy_loss) == (0, 0.01)
    np.testing.assert_array_equal(case.load().x_train, blobs.x_train)
    for kept, weight in zip(case.build().weights, small_model.weights, strict=True):
        np.testing.assert_array_equal(kept, weight)


def test_a_case_names_its_files_and_is_found_from_anywhere(trained, tmp_path, monkeypatch):
    model, data = trained
    monkeypatch.chdir(model.parent)
    case = f"./{model.name}:{data.name}"
    assert [path.resolve() for path in case_files(case)] == [model, data]
    assert absolute_case(case) == f"{model}:{data}"
    assert absolute_case("./my case.py:case") == f"{model.parent / 'my case.py'}:case"
    for name in ("signal", "nothing of ours"):
        assert case_files(name) == []
        assert absolute_case(name) == name


@pytest.mark.parametrize("ending", [".h5", ".hdf5"])
def test_a_trained_model_may_be_hdf5(trained, small_model, ending):
    model, data = trained
    small_model.save(model.with_suffix(".h5"))
    model = model.with_suffix(".h5").rename(model.with_suffix(ending))
    case = find_case(f"{model}:{data}")
    for kept, weight in zip(case.build().weights, small_model.weights, strict=True):
        np.testing.assert_array_equal(kept, weight)


LAYERS = """
import keras

@keras.saving.register_keras_serializable("case_tests")
class Scaled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""


def test_a_case_names_the_modules_of_its_custom_layers(trained, monkeypatch):
    model, data = trained
    (model.parent / "case_layers.py").write_text(LAYERS)
    monkeypatch.chdir(model.parent)
    inputs = keras.Input((16, 2))
    x = keras.layers.Flatten()(import_module("case_layers").Scaled()(inputs))
    keras.Model(inputs, keras.layers.Dense(2)(x)).save(model)
    del sys.modules["case_layers"]
    keras.saving.get_custom_objects().pop("case_tests>Scaled")
    with pytest.raises(KoptError, match=r"Keras does not know class 'Scaled'.*--import MODULE"):
        find_case(f"{model.name}:{data.name}")
    case = absolute_case(f"{model.name}:{data.name}:case_layers,math")
    script = model.parent / "case_layers.py"
    assert case == f"{model}:{data}:{script},math"
    assert case_files(case) == [model, data, script]
    monkeypatch.chdir("/")
    assert type(find_case(case).build().layers[1]).__name__ == "Scaled"


@pytest.fixture(scope="module", params=BUILT_IN)
def case(request) -> Case:
    return find_case(request.param)


@pytest.fixture(scope="module")
def data(case):
    return case.load()


def test_a_cases_models_take_its_data(case, data):
    outputs = data.y_test.shape[1:] or (data.classes,)
    for build in (case.build, case.build_teacher):
        assert build()(data.x_test[:2]).shape == (2, *outputs)


def test_a_cases_slow_model_is_saved_and_loaded_in_safe_mode(case, data, tmp_path):
    model = case.build()
    model.save(tmp_path / "slow.keras")
    loaded = keras.saving.load_model(tmp_path / "slow.keras", safe_mode=True)
    x = data.x_test[:2]
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-5, atol=1e-6)


def test_every_rewrite_of_a_case_is_equivalent(case):
    model = case.build()
    layer = next(layer for layer in model.layers if isinstance(layer, case.slow_layer))
    for rewrite in case.rewrites:
        result = check_equivalence(
            layer, rewrite.make(layer), layer.input.shape[1:], port=rewrite.port
        )
        assert result.equivalent, f"{rewrite.name}: {result.reason}"


def test_a_rewritten_model_computes_the_same_and_keeps_its_layer_names(case, data):
    model, x = case.build(), data.x_test[:8]
    for rewrite in case.rewrites:
        fast = replace_layers(model, case.slow_layer, rewrite)
        np.testing.assert_allclose(fast(x), model(x), rtol=1e-4, atol=1e-4)
        assert [layer.name for layer in fast.layers] == [layer.name for layer in model.layers]
        assert not any(isinstance(layer, case.slow_layer) for layer in fast.layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 5}, "epochs of signal: saw 5; expected a kopt.Epochs"),
        ({"budget": "2 ms"}, "budget of signal: saw '2 ms'; expected a kopt.Budget"),
        ({"load": 3}, "load of signal: saw a int; expected a function"),
        ({"name": "../up"}, "expected a directory name"),
        ({"target": "ONNX"}, "target of signal: saw 'ONNX'"),
    ],
)
def test_a_case_checks_what_it_is_made_of(change, message):
    with pytest.raises(ParameterError, match=message):
        replace(find_case("signal"), **change)


def test_epochs_are_numbers():
    with pytest.raises(ParameterError, match="epochs of prune: saw 0; expected an integer"):
        Epochs(profile=0, prune=0, distil=1, qat=1)


def test_drawn_slices_are_the_same_each_time_and_hold_what_their_datasheet_says():
    draw = nodule.SLICES.draw
    slices, marks, patients = draw(3, seed=5)
    np.testing.assert_array_equal(slices, draw(3, seed=5)[0])
    assert not np.array_equal(slices, draw(3, seed=6)[0])
    assert slices.shape == marks.shape == (15, 256, 256)
    assert patients.tolist() == sorted([0, 1, 2] * 5)
    assert 0.0002 < marks.mean() < 0.01
    corner = slices[:, :20, :20].reshape(3, -1)  # air around the patient: nothing but noise
    assert (abs(corner.mean(axis=1) + 1000) < 5).all()
    assert ((corner.std(axis=1) > 12) & (corner.std(axis=1) < 44)).all()
    assert slices[marks].mean() > slices[:, 100:150, 60:100].mean() + 200


def test_nodule_sets_patients_aside_whole(monkeypatch):
    monkeypatch.setattr(nodule, "PATIENTS", {"train": 5, "test": 1})
    data = nodule.load()
    assert (len(data.x_train), len(data.x_val), len(data.x_test)) == (20, 5, 5)
    assert len(set(data.groups_train)) == 4
    assert data.task.score.name == "IoU"


def test_a_nodule_is_found_if_half_of_it_is_marked():
    marks = np.zeros((2, 8, 8, 1), bool)
    marks[0, 1:3, 1:3], marks[0, 5:7, 4:8], marks[1, 3, 3:5] = True, True, True
    outputs = np.zeros(marks.shape)
    assert nodule.SLICES.found(outputs, marks) == "0% of 3 nodules found"
    outputs[0, 5:7, 4:6] = 0.7
    outputs[0, 1, 1] = 0.9
    assert nodule.SLICES.found(outputs, marks) == "33% of 3 nodules found"


def test_a_part_without_nodules_has_none_to_find():
    nothing = np.zeros((1, 4, 4, 1))
    assert nodule.SLICES.found(nothing, nothing > 1) == "no nodules to find"
