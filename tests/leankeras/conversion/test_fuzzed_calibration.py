"""Any input as calibration, in every mode: a verified file, or one clear line."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest

from leankeras.conversion import converter
from leankeras.conversion.tflite import Conversion, convert
from leankeras.errors import ConversionError, DataError, KoptError, ParameterError
from leankeras.modes import INTEGER_MODES, MODES
from leankeras.runtime.litert import LiteRTModel

DRAWS = 40
random = np.random.default_rng(0)
GOOD = random.normal(size=(24, 8, 2)).astype("float32")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 2))
    x = keras.layers.Conv1D(3, 3, activation="relu", name="conv")(inputs)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(x), name="net")


def with_one(value):
    def change(x):
        changed = x.copy()
        changed[3, 2, 1] = value
        return changed

    return change


REFUSED = {
    "NaN": with_one(np.nan),
    "Inf": with_one(-np.inf),
    "constant": np.ones_like,
    "constant channel": lambda x: x * [1, 0],
    "wrong scale": lambda x: x * 255,
    "moved": lambda x: x + 100,
    "wrong shape": lambda x: x[:, :4],
    "wrong rank": lambda x: x[0],
    "a batch too many": lambda x: x[None],
    "strings": lambda x: x.astype(str),
    "bytes": lambda x: x.tobytes(),
    "objects": lambda x: x.astype(object),
    "complex": lambda x: x.astype(complex),
    "dates": lambda x: x.astype("int64").astype("datetime64[s]"),
    "records": lambda x: np.zeros(24, "f4,i4"),
    "ragged": lambda x: [x[0], x[1][:3]],
    "ragged in a list": lambda x: [[[1.0], [1.0, 2.0]]],
    "empty": lambda x: x[:0],
    "empty list": lambda x: [],
    "empty dict": lambda x: {},
    "too few": lambda x: x[:9],
    "huge": lambda x: x.astype("float64") * 1e300,
    "huge integers": lambda x: [10**400] * 24,
    "scalar": lambda x: 3.0,
    "a word": lambda x: "x_train",
    "other names": lambda x: {"y": x},
    "a name that is no word": lambda x: {3: x},
    "two arrays": lambda x: [x, x],
    "None in a dict": lambda x: {"x": None},
    "generator": lambda x: (sample for sample in x),
    "function": lambda x: lambda: x,
    "table": lambda x: pd.DataFrame({"x": ["a", "b"]}),
}

ACCEPTED = {
    "as it is": lambda x: x,
    "by name": lambda x: {"x": x},
    "in a list": lambda x: [x],
    "nested lists": lambda x: x.tolist(),
    "doubles": lambda x: x.astype("float64"),
    "halves": lambda x: x.astype("float16"),
    "integers": lambda x: np.round(4 * x).astype("int8"),
    "booleans": lambda x: x > 0,
    "read only, strided": lambda x: np.asfortranarray(x)[::-1],
    "tiny": lambda x: x * np.float32(1e-30),
    "not normal": lambda x: x * np.float32(1e-40),
    "large": lambda x: x * np.float32(1e20),
    "one outlier": with_one(1e6),
}


def attempt(model, path, mode, calibration, evaluation=None) -> Conversion | KoptError:
    """A verified file, or an error of one line that leaves none; the child lives on."""
    path.unlink(missing_ok=True)
    try:
        end = convert(model, path, mode, calibration, evaluation=evaluation)
    except KoptError as error:
        end = error
    if isinstance(end, Conversion):
        assert np.isfinite(LiteRTModel(path)(GOOD)).all()
    else:
        assert 10 < len(str(end)) < 600
        assert "\n" not in str(end)
        assert not path.exists()
    return end


@pytest.mark.parametrize("kind", REFUSED)
def test_useless_samples_are_refused_in_every_mode(model, tmp_path, kind):
    messages = set()
    for mode in MODES:
        error = attempt(model, tmp_path / "a.tflite", mode, REFUSED[kind](GOOD), GOOD)
        assert isinstance(error, DataError), (mode, error)
        messages.add(str(error))
    assert len(messages) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ACCEPTED)
def test_odd_samples_are_usable_in_every_mode_or_the_refusal_says_why(model, tmp_path, kind):
    for mode in MODES if kind in ("as it is", "tiny", "large") else ("float32", "int8"):
        made = attempt(model, tmp_path / "a.tflite", mode, ACCEPTED[kind](GOOD))
        if kind in ("tiny", "not normal", "large"):
            assert isinstance(made, Conversion | ConversionError)
        else:
            assert isinstance(made, Conversion), (mode, made)


@pytest.mark.parametrize("mode", MODES)
def test_no_samples_at_all(model, tmp_path, mode):
    made = attempt(model, tmp_path / "a.tflite", mode, None)
    assert isinstance(made, ParameterError if mode in INTEGER_MODES else Conversion)


def drawn(generator: np.random.Generator) -> np.ndarray:
    """An array of random shape, type and values, one time in three of the model's shape."""
    shape = tuple(generator.integers(0, 30, generator.integers(0, 5)))
    if generator.random() < 0.6:
        shape = (generator.integers(0, 40), 8, 2)
    values = generator.normal(generator.normal(), 10.0 ** generator.integers(-9, 9), shape)
    if values.size and generator.random() < 0.3:
        special = [np.nan, np.inf, -np.inf, 0.0, 3e38, 1e-45, 1e300]
        values.flat[generator.integers(values.size)] = generator.choice(special)
    kinds = ["f2", "f4", "f8", "i1", "i8", "u1", "bool", "c8", "U5", "O", "M8[s]"]
    chances = [0.1, 0.35, 0.15, 0.06, 0.06, 0.06, 0.06, 0.04, 0.04, 0.04, 0.04]
    with np.errstate(all="ignore"):
        return values.astype(generator.choice(kinds, p=chances))


def test_random_arrays_end_well_and_the_child_outlives_them(model, tmp_path):
    generator = np.random.default_rng(7)
    convert(model, tmp_path / "a.tflite", "float32")
    child = converter.shared.process.pid
    ends = [
        attempt(model, tmp_path / "a.tflite", mode, drawn(generator))
        for mode, _ in zip(itertools.cycle(MODES), range(DRAWS), strict=False)
    ]
    made = sum(isinstance(end, Conversion) for end in ends)
    assert 0.1 * DRAWS < made < 0.75 * DRAWS  # both outcomes occur
    assert converter.shared.process.pid == child
