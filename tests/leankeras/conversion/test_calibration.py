import numpy as np
import pytest

from leankeras.conversion.calibration import MAX_SAMPLES, check_calibration, thinned
from leankeras.conversion.signature import InputSpec
from leankeras.errors import DataError

SIGNAL = {"x": InputSpec((16, 3), "float32")}
INDICES = {"x": InputSpec((12,), "int32")}


@pytest.fixture
def signal() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 16, 3))


def test_good_samples_come_back_in_the_models_dtype(signal):
    checked = check_calibration(signal, SIGNAL, evaluation=signal[:20] * 1.5)
    assert checked["x"].dtype == np.float32
    assert np.allclose(checked["x"], signal)


def test_many_samples_are_thinned_evenly():
    samples = np.arange(1000.0).reshape(-1, 1) + np.zeros((1, 4))
    checked = check_calibration(samples, {"x": InputSpec((4,), "float32")})
    assert len(checked["x"]) == 1000
    kept = thinned(checked)["x"]
    assert len(kept) == MAX_SAMPLES
    assert kept[0, 0] == 0
    assert kept[-1, 0] == 999


def test_whole_numbers_in_floats_are_indices(signal):
    indices = np.random.default_rng(0).integers(0, 50, (20, 12)).astype("float64")
    assert check_calibration(indices, INDICES)["x"].dtype == np.int32
    with pytest.raises(DataError, match="expected int32"):
        check_calibration(indices + 0.5, INDICES)


def test_image_columns_may_be_constant(signal):
    images = np.random.default_rng(0).normal(size=(20, 28, 28))
    images[:, :, 0] = 0
    check_calibration(images, {"x": InputSpec((28, 28), "float32")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.concatenate([x[..., :2], 0 * x[..., 2:]], -1), "channel 2 of x"),
        (lambda x: x[:9], "9 calibration samples"),
        (lambda x: np.ones_like(x), "all calibration samples of x are 1"),
    ],
)
def test_samples_that_calibrate_wrongly(signal, change, message):
    with pytest.raises(DataError, match=message):
        check_calibration(change(signal), SIGNAL)


@pytest.mark.parametrize("change", [lambda x: x * 255, lambda x: x / 255, lambda x: x + 100])
def test_a_range_unlike_the_evaluations(signal, change):
    with pytest.raises(DataError, match="scale both the same way"):
        check_calibration(change(signal), SIGNAL, evaluation=signal)


def test_fuzzed_samples_are_refused_or_usable():
    random = np.random.default_rng(1)
    for _ in range(300):
        shape = tuple(random.integers(0, 20, random.integers(0, 4)))
        if random.random() < 0.5:
            shape = (20, 16, 3)
        kind = random.choice(["float16", "float64", "int8", "uint8", "bool", "complex64", "U3"])
        samples = random.normal(size=shape).astype(kind)
        if samples.size and np.issubdtype(samples.dtype, np.floating):
            samples.flat[random.integers(samples.size)] = random.choice([np.nan, np.inf, 1.0])
        message, checked = outcome(samples)
        if checked is None:
            assert message
            assert "\n" not in message
        else:
            assert checked.shape[1:] == (16, 3)
            assert np.isfinite(checked).all()


def outcome(samples: np.ndarray) -> tuple[str, np.ndarray | None]:
    try:
        return "", check_calibration(samples, SIGNAL)["x"]
    except DataError as error:
        return str(error), None
