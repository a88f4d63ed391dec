"""Intervals that hold for the next measurement, too."""

import numpy as np

RESAMPLES = 2000


def median_interval(values: np.ndarray, drift: float = 0.0) -> tuple[float, float, float]:
    """Median of independent values above 0 and its 95 % interval ``(median, low, high)``.

    Args:
        values: shape ``(n,)``.
        drift: half the width of the 95 % interval, relative to the median, of what changes from
            one set of values to the next and so does not show within one; it is combined in
            quadrature with a bootstrap over the values.
    """
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    median = float(np.median(values))
    low, high = np.quantile(np.median(values[draws], axis=1), [0.025, 0.975]) / median
    return (
        median,
        float(median / np.exp(np.hypot(np.log(low), drift))),
        float(median * np.exp(np.hypot(np.log(high), drift))),
    )


def verdict(low: float, high: float) -> str:
    """What the interval of a ratio says: "faster" or "slower" where it is clear of 1."""
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "cannot tell"
