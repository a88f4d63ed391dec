"""A program is a layer like any other: it saves, loads, trains and converts."""

import json
import sys
from subprocess import run

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.conversion import convert
from leankeras.errors import ModelError
from leankeras.modes import MODES
from leankeras.rewriting.operations import Batch
from leankeras.rewriting.program import Program, Statement, WeightSpec
from tests.layers.attention import StepwiseAttention
from tests.layers.pattern import Formula
from tests.layers.several import Modulation
from tests.leankeras.rewriting.trying import rewritten

SHAPE = (6, 4)


@pytest.fixture(scope="module")
def program():
    keras.utils.set_random_seed(0)
    return rewritten(StepwiseAttention(3), SHAPE).layer


@pytest.fixture(scope="module")
def model(program):
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, keras.layers.Dense(2)(program(inputs)))


@pytest.fixture(scope="module")
def samples():
    return np.random.default_rng(0).normal(size=(16, *SHAPE)).astype("float32")


def test_it_is_saved_and_loaded_in_safe_mode(model, samples, tmp_path):
    model.save(tmp_path / "fast.keras")
    loaded = keras.models.load_model(tmp_path / "fast.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(samples, verbose=0),
                                  model.predict(samples, verbose=0))  # fmt: skip


def test_its_config_is_plain_data(program):
    config = json.loads(json.dumps(program.get_config()))
    again = Program.from_config(config)
    again.set_weights(program.get_weights())
    x = np.ones((2, *SHAPE), "float32")
    np.testing.assert_array_equal(again(x), program(x))


def test_it_trains(model, samples):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile("sgd", "mse")
    before = copy.get_weights()
    copy.fit(samples, np.ones((16, *model.output_shape[1:])), verbose=0)
    moved = [np.any(old != new) for old, new in zip(before, copy.get_weights(), strict=True)]
    # What is added to all scores alike has no slope, and so does not move.
    assert sum(moved) >= len(moved) - 3


@pytest.mark.parametrize("mode", MODES)
def test_it_converts_in_every_mode(model, samples, mode, tmp_path):
    assert convert(model, tmp_path / "fast.tflite", mode, samples).size_bytes > 0


def test_inputs_and_outputs_keep_their_names():
    shapes = {"features": (5, 4), "condition": (4,)}
    layer = Modulation()
    fast = rewritten(layer, shapes).layer
    x = {name: np.ones((2, *shape), "float32") for name, shape in shapes.items()}
    slow = layer(x)
    assert set(fast(x)) == {"features", "norm"}
    for name, value in fast(x).items():
        np.testing.assert_allclose(value, slow[name], atol=1e-6)


def test_sizes_may_be_multiples_of_the_batch():
    statement = Statement("reshape", (("input", 0),), {"shape": (Batch(2), 2)})
    program = Program([], [], [statement], ("value", 0))
    assert program(np.ones((3, 4), "float32")).shape == (6, 2)
    assert Program.from_config(program.get_config()).statements == program.statements


@pytest.mark.parametrize(
    "statement",
    [
        Statement("shell", (("input", 0),), {}),
        Statement("kept", (("input", 0),), {"type": "ReadFile", "arguments": (("filename", None),),
                                            "settings": (), "output": None}),
    ],
)  # fmt: skip
def test_an_operation_that_rewrite_would_not_make_is_refused(statement):
    with pytest.raises(ModelError, match=r"ReadFile|shell"):
        Program([WeightSpec("w", (2,), "float32", True)], [], [statement], ("value", 0))


OPENED_ELSEWHERE = """
import sys
from leankeras.runtime import load_keras
assert "leankeras.rewriting" not in sys.modules
for path in sys.argv[1:]:
    print(type(load_keras(path).layers[1]).__name__)
"""


def test_a_process_that_knows_nothing_of_rewrite_opens_it(model, tmp_path):
    paths = [tmp_path / "fast.keras", tmp_path / "fast.h5"]
    for path in paths:
        model.save(path)
    child = run([sys.executable, "-c", OPENED_ELSEWHERE, *paths], check=True, capture_output=True)
    assert child.stdout.split() == [b"Program"] * 2


def test_a_call_with_other_inputs_than_the_old_one_had_is_refused(program):
    x = np.ones((2, *SHAPE), "float32")
    with pytest.raises(ModelError, match="with 1 inputs; saw 2"):
        program(x, context=x)


def embedded(layer, x):
    return tf.stack([tf.gather(layer.table, tf.cast(x[:, t], "int32")) for t in range(4)], axis=1)


def test_what_is_cast_first_may_have_any_type():
    layer = Formula(embedded, table=(5, 3))
    fast = rewritten(layer, (4,)).layer
    assert fast.input_dtypes == ("float32",)
    for dtype in ("float32", "int64"):
        x = np.array([[0, 4, 2, 1]], dtype)
        np.testing.assert_array_equal(fast(x), layer(x))
