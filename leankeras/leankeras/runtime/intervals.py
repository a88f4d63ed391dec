"""Intervals that also hold for the next measurement."""

import numpy as np

RESAMPLES = 2000


def median_interval(values: np.ndarray, drift: float = 0.0) -> tuple[float, float, float]:
    """Median of independent values above 0 and its 95 % interval ``(median, low, high)``.

    Args:
        values: shape ``(n,)``.
        drift: half the width of the 95 % interval, relative to the median, of the change from one
            set of values to the next, which does not show within one; it is combined in
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
    """The verdict of a ratio's interval: "faster" or "slower" if it excludes 1."""
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "cannot tell"
