"""How far two arrays may be apart and still come from the same function.

Two right implementations add float32 numbers in different orders, so they differ
by rounding. An output passes where ``|candidate - reference| <= r * (|reference| + rms) + w``:
``r`` is 1e-4 (2e-2 for 16-bit outputs); ``rms``, of the reference's outputs on that probe, lets
an output near 0 carry the rounding of the large terms that cancelled in it; ``w`` is measured,
four times as far as the reference's own outputs move when its inputs are rounded differently, and
at most 1 % of ``rms``. The relative part holds large outputs to account, the absolute part small
ones. Gradients, which pass through every operation twice, have ten times the ``r``.
"""

from dataclasses import dataclass

import numpy as np

RELATIVE = 1e-4
RELATIVE_16_BIT = 2e-2
RELATIVE_GRADIENT = 1e-3
RELATIVE_REPEAT = 1e-6  # threads may add in another order the second time


@dataclass(frozen=True)
class Distance:
    """How far two arrays are apart, at the place that is worst for its tolerance."""

    equal: bool
    max_abs_diff: float
    tolerance: float
    where: str


def distance(
    expected: np.ndarray, seen: np.ndarray, relative: float, allowance: float = 0.0
) -> Distance:
    """How far two arrays are apart, at the place where the tolerance is exceeded most.

    Where the reference is not finite itself, there is nothing to compare with.
    """
    if expected.dtype.kind not in "fV":  # V: bfloat16
        expected, seen, relative = expected.astype("int64"), seen.astype("int64"), 0.0
    expected, seen = expected.astype("float64"), seen.astype("float64")
    known = np.isfinite(expected)
    if not known.any():
        return Distance(True, 0.0, 0.0, "")
    rms = float(np.sqrt(np.mean(expected[known] ** 2))) if relative else 0.0
    tolerance = relative * (np.abs(expected) + rms) + min(allowance, 0.01 * rms)
    difference = np.where(known, np.abs(seen - np.where(known, expected, 0)), 0)
    difference[np.isnan(difference)] = np.inf
    worst = np.unravel_index(
        np.argmax(np.where(known, difference - np.where(known, tolerance, 0), -np.inf)),
        expected.shape,
    )
    return Distance(
        equal=bool((difference <= tolerance)[known].all()),
        max_abs_diff=float(difference.max()),
        tolerance=float(tolerance[worst]),
        where=str(tuple(int(index) for index in worst)),
    )
