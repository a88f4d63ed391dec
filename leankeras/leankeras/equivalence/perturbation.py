"""A layer's weights for the time of a trial: perturbed, and given back as they came."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

Values = list[tuple[keras.Variable, np.ndarray]]


@contextmanager
def kept(*layers: keras.Layer) -> Iterator[None]:
    """Have all variables of the layers at the end what they were at the start, come what may."""
    values = read([variable for layer in layers for variable in layer.variables])
    try:
        yield
    finally:
        write(values)


def read(variables: list[keras.Variable]) -> Values:
    """The variables with copies of their values."""
    return [(variable, variable.numpy().copy()) for variable in variables]


def write(values: Values) -> None:
    """Put values back that :func:`read` gave."""
    for variable, value in values:
        variable.assign(value)


def perturb(layer: keras.Layer) -> None:
    """Give every trainable weight, and statistics still at their first value, values that tell.

    Fresh biases are zero and fresh statistics constant, which hides a bias that is dropped or
    not saved. Values above 0 stay above 0 (a variance, a scale). Weights that are not trained and
    already vary (masks, tables, learned statistics) are kept: a rewrite may hold them as
    constants.

    Args:
        layer: a built layer or model, changed in place; seeded by nothing but its weights' order.
    """
    rng = np.random.default_rng(0)
    trainable = {id(weight) for weight in layer.trainable_weights}
    for weight in layer.weights:
        if not keras.backend.is_float_dtype(weight.dtype):
            continue
        value = weight.numpy().astype("float64")
        constant = value.size and (value == value.flat[0]).all()
        if id(weight) not in trainable and not constant:
            continue
        noise = rng.normal(size=value.shape)
        if (value >= 0).all():
            moved = np.where(value > 0, value * np.exp(0.3 * noise), 0.3 * noise)
        else:
            moved = value + 0.3 * value.std() * noise
        weight.assign(np.abs(moved) if "variance" in weight.name else moved)
