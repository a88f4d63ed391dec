"""A layer's weights during a trial: perturbed, and restored afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np

from leankeras.equivalence.tolerance import is_float

Values = list[tuple[keras.Variable, np.ndarray]]

# A constant below this, such as the initial 1e-6 of layer scale, hides its factor; biases that
# training has hardly moved hide themselves.
TELLING = 0.05


@contextmanager
def kept(*layers: keras.Layer) -> Iterator[None]:
    """Restore all variables of the layers at the end, even after an error."""
    values = read([variable for layer in layers for variable in layer.variables])
    try:
        yield
    finally:
        write(values)


def read(variables: list[keras.Variable]) -> Values:
    """The variables with copies of their values."""
    return [(variable, variable.numpy().copy()) for variable in variables]


def write(values: Values) -> None:
    """Restore values returned by :func:`read`."""
    for variable, value in values:
        variable.assign(value)


def perturb(layer: keras.Layer) -> None:
    """Give every trainable weight, and statistics at their initial value, informative values.

    Fresh biases are zero and fresh statistics constant, which hides a bias that is dropped or
    not saved. Values above 0 stay above 0 (a variance, a scale). Weights that are not trained and
    already vary (masks, tables, learned statistics) are kept: a rewrite may hold them as
    constants.

    Args:
        layer: a built layer or model, changed in place; values depend only on its weights' order.
    """
    rng = np.random.default_rng(0)

    def moved(value: np.ndarray) -> np.ndarray:
        noise = rng.normal(size=value.shape)
        if not (value >= 0).all():
            size = value.std() if value.ndim > 1 else max(value.std(), TELLING)
            return value + 0.3 * size * noise
        if value.size and 0 < value.max() == value.min() < TELLING:
            return 0.3 * np.exp(0.3 * noise)
        return np.where(value > 0, value * np.exp(0.3 * noise), 0.3 * noise)

    _change(layer, moved)


def make_whole(layer: keras.Layer) -> None:
    """Set the weights that :func:`perturb` changes to small whole numbers; those above 0 stay so.

    Args:
        layer: a built layer or model, changed in place.
    """
    rng = np.random.default_rng(0)

    def whole(value: np.ndarray) -> np.ndarray:
        lowest = 1 if (value > 0).all() else -2
        return rng.integers(lowest, 3, value.shape)

    _change(layer, whole)


def round_differently(values: Values, relative: float, seed: int) -> None:
    """Set float variables to values that differ from those given by one rounding."""
    rng = np.random.default_rng(seed)
    for variable, value in values:
        if is_float(variable):
            variable.assign(nudged(value, relative, rng))


def nudged(value: np.ndarray, relative: float, rng: np.random.Generator) -> np.ndarray:
    """An array whose fractional values are off by this relative error, up or down.

    Whole numbers, such as the zeros and ones of a mask, stay exact.
    """
    if not is_float(value):
        return value
    exact = value.astype("float64")
    factor = 1 + relative * rng.choice([-1, 1], value.shape)
    return np.where(exact == np.round(exact), exact, exact * factor).astype(value.dtype)


def other_values(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unrelated values of the same size as those of a weight."""
    given = value.astype("float64")
    size = float(np.sqrt(np.mean(np.square(given)))) if given.size else 0.0
    drawn = (size or 1.0) * rng.normal(size=value.shape)
    return (np.abs(drawn) + 0.1 * size if (given > 0).all() else drawn).astype(value.dtype)


def _change(layer: keras.Layer, change: Callable[[np.ndarray], np.ndarray]) -> None:
    trainable = {id(weight) for weight in layer.trainable_weights}
    for weight in layer.weights:
        if not is_float(weight):
            continue
        value = weight.numpy().astype("float64")
        constant = value.size and (value == value.flat[0]).all()
        if id(weight) in trainable or constant:
            moved = change(value)
            weight.assign(np.abs(moved) if "variance" in weight.name else moved)
