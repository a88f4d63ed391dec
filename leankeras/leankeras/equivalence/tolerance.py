"""How far apart two arrays may be and still come from the same function.

Two correct implementations add float32 numbers in different orders, so they differ by rounding. An
output passes if ``|candidate - reference| <= r * (|reference| + size) + w``. The relative part
``r`` is 1e-4 (2e-2 if the reference computes in 16 bits). ``size`` lets an output near 0 carry the
rounding of the large terms that cancelled in it; it is the root mean square of the outputs in the
same channel, so that boxes in pixels do not loosen the tolerance of a confidence beside them (and
of those at the same place along every other axis, whichever is smallest). ``w`` is measured: four
times as far as the reference's own outputs move when inputs and weights are rounded differently.
Gradients have ten times the ``r``, since they pass through every operation twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

RELATIVE = 1e-4
RELATIVE_16_BIT = 2e-2
RELATIVE_GRADIENT = 1e-3
RELATIVE_REPEAT = 1e-6  # threads may add in a different order the second time
HALF_TYPES = {"float16", "bfloat16"}
# The candidate may be off by this many times the movement of the reference by rounding.
ROUNDING_MARGIN = 4
# An output that cancels to nothing on one probe is judged by its size on another. The less is left
# of it, the larger the rounding: the root of a variance near 0 has the root of its rounding.
RELATIVE_FLOOR, VANISHED = 2.0**-20, 2.0**-10
# Beyond this share of an output's size, rounding is a fault of the function, not an excuse.
LARGEST_ROUNDING = 0.01


@dataclass(frozen=True)
class Distance:
    """How far apart two arrays are, at the place that is worst for its tolerance."""

    equal: bool
    max_abs_diff: float
    tolerance: float
    where: str


FAILS = Distance(False, float("inf"), 0.0, "")  # nothing to measure: an error, or a different shape


def distance(expected: np.ndarray, seen: np.ndarray, relative: float) -> Distance:
    """How far apart two arrays are, with one tolerance relative to all of ``expected``."""
    if not is_float(expected):
        return apart(expected, seen, 0.0)
    expected = expected.astype("float64")
    return apart(expected, seen, relative * (np.abs(expected) + rms(expected)))


def apart(expected: np.ndarray, seen: np.ndarray, tolerance: np.ndarray | float) -> Distance:
    """How far apart two arrays are, at the place where the tolerance is exceeded most.

    Elements where the reference itself is not finite are not compared. Whole numbers and truth
    values must be equal.
    """
    kind = "float64" if is_float(expected) else "int64"
    expected, seen = expected.astype(kind), seen.astype(kind)
    tolerance = np.broadcast_to(tolerance, expected.shape)
    known = np.isfinite(expected)
    if not known.any():
        return Distance(True, 0.0, 0.0, "")
    difference = np.where(known, np.abs(seen - np.where(known, expected, 0)), 0).astype("float64")
    difference[np.isnan(difference)] = np.inf
    excess = np.where(known, difference - np.where(known, tolerance, 0), -np.inf)
    worst = np.unravel_index(np.argmax(excess), expected.shape)
    return Distance(
        equal=bool((difference <= tolerance)[known].all()),
        max_abs_diff=float(difference.max()),
        tolerance=float(tolerance[worst]),
        where=str(tuple(int(index) for index in worst)),
    )


def output_tolerance(
    expected: np.ndarray,
    relative: float,
    rounding: np.ndarray,
    usual: np.ndarray,
    scale: float,
) -> np.ndarray:
    """The tolerance of each element of an output.

    Args:
        expected: the reference's output on a probe, batch first.
        relative: the relative part.
        rounding: how far each element moved when the reference was rounded differently.
        usual: :func:`usual_size` of the reference's output on the usual probes.
        scale: how large the inputs are, compared with those of the usual probes.
    """
    if not is_float(expected):
        return np.zeros(expected.shape)
    # Where the reference is not finite, nothing is compared.
    expected = np.where(np.isfinite(expected), expected, 0).astype("float64")
    size, usual = slice_size(expected), scale * usual
    left = size / np.where(usual > 0, usual, 1)
    floor = usual * np.minimum(VANISHED, RELATIVE_FLOOR / np.maximum(left, RELATIVE_FLOOR))
    near = np.minimum(
        ROUNDING_MARGIN * _by_slice(rounding, _largest),
        np.maximum(LARGEST_ROUNDING * size, 16 * floor),
    )
    own = ROUNDING_MARGIN * rounding
    return relative * (np.abs(expected) + size) + np.maximum(near, own) + floor


def gradient_tolerance(expected: np.ndarray, rounded: np.ndarray, relative: float) -> np.ndarray:
    """The tolerance of each element of a gradient.

    Args:
        expected: the reference's gradient.
        rounded: the same with weights and inputs rounded differently.
        relative: the relative part.
    """
    expected = np.where(np.isfinite(expected), expected, 0).astype("float64")
    moved = changes(expected, rounded)
    rounding = ROUNDING_MARGIN * (moved + rms(moved))
    return relative * (np.abs(expected) + rms(expected)) + rounding


def changes(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far each element moved; 0 where it was not finite before or after."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(after.astype("float64") - before.astype("float64"))
    return np.where(np.isfinite(difference), difference, 0.0)


def slice_size(output: np.ndarray) -> np.ndarray:
    """The root mean square around each element: of its channel, or a smaller one along an axis."""
    return _by_slice(output.astype("float64"), _rms_along)


def usual_size(output: np.ndarray) -> np.ndarray:
    """The argument ``usual`` of :func:`output_tolerance`, for a batch of any size."""
    size = slice_size(output)
    if output.ndim < 2:
        return np.max(size)
    return np.maximum(size[:1], 1e-3 * np.max(size, initial=0.0))


def rms(values: np.ndarray) -> float:
    """The root mean square of the finite values."""
    known = values[np.isfinite(values)].astype("float64")
    return float(np.sqrt(np.mean(known**2))) if known.size else 0.0


def is_float(values: Any) -> bool:
    """Whether an array, a tensor or a variable holds floating-point numbers."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(values.dtype))


def _by_slice(values: np.ndarray, reduce: Callable) -> np.ndarray:
    # For every axis but the batch: reduce over the elements at the same place on it.
    axes = range(1, values.ndim) if values.ndim > 1 else [None]
    found = []
    for axis in axes:
        others = tuple(each for each in range(values.ndim) if each != axis)
        found.append(np.broadcast_to(reduce(values, others), values.shape))
    return np.min(found, axis=0)


def _rms_along(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    known = np.isfinite(values)
    total = np.sum(np.where(known, values, 0) ** 2, axis=axes, keepdims=True)
    return np.sqrt(total / np.maximum(known.sum(axis=axes, keepdims=True), 1))


def _largest(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.max(np.where(np.isfinite(values), values, 0), axis=axes, keepdims=True)
