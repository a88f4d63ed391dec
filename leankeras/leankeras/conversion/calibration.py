"""Checks of calibration samples before a converter sees them.

The converter silently accepts anything: zeros, one image, or samples that were never scaled, and
the accuracy is gone. NaN leaves the file mostly float and Inf kills the process.
"""

from collections.abc import Mapping

import numpy as np

from leankeras.conversion.signature import Arrays, InputSpec, named_arrays
from leankeras.errors import DataError

MIN_SAMPLES = 10
MAX_SAMPLES = 300
MAX_SPREAD_RATIO = 3.0
EDGE_PERCENT = 0.5


def check_calibration(
    calibration: Arrays, inputs: Mapping[str, InputSpec], evaluation: Arrays | None = None
) -> dict[str, np.ndarray]:
    """Refuse samples that would calibrate a model wrongly.

    Args:
        calibration: samples, ``(n, ...)`` for each input, at least 10.
        inputs: the model's inputs by name.
        evaluation: samples that the model will be scored with; if given, the calibration must
            cover a similar range.

    Returns:
        The samples by input name, in the model's dtypes.

    Raises:
        DataError: too few samples, a wrong shape or dtype, NaN or Inf, only one value, a constant
            channel, or a range unlike that of the evaluation samples.

    Example:
        >>> check_calibration(x_train[:200], {"x": InputSpec((128, 6), "float32")}, x_test)
    """
    arrays = named_arrays(calibration, list(inputs))
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"calibration has different numbers of samples: {counts}")
    count = next(iter(counts.values()))
    if count < MIN_SAMPLES:
        raise DataError(
            f"{count} calibration samples; expected {MIN_SAMPLES} or more, drawn from the training "
            "data, since they set the ranges of all activations"
        )
    others = named_arrays(evaluation, list(inputs)) if evaluation is not None else {}
    checked = {}
    for name, spec in inputs.items():
        array = check_samples(arrays[name], name, spec)
        if np.issubdtype(array.dtype, np.floating):
            _check_variety(array, name)
            if name in others:
                _check_range(array, check_samples(others[name], name, spec), name)
        checked[name] = array
    return checked


def thinned(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """At most 300 samples, evenly spaced: ranges hardly change with more."""
    count = len(next(iter(samples.values())))
    keep = np.linspace(0, count - 1, min(count, MAX_SAMPLES)).round().astype(int)
    return {name: array[keep] for name, array in samples.items()}


def check_samples(array: np.ndarray, name: str, spec: InputSpec) -> np.ndarray:
    """Samples of one input in the dtype of the model; raises a DataError if they do not fit."""
    fits = array.ndim == len(spec.shape) + 1 and all(
        expected in (None, size) for expected, size in zip(spec.shape, array.shape[1:], strict=True)
    )
    if not fits or array.size == 0:
        shape = ", ".join("any" if size is None else str(size) for size in spec.shape)
        raise DataError(
            f"samples of {name} have shape {array.shape}; expected (n, {shape}) with n > 0"
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).reshape(len(array), -1).any(axis=1).sum())
        raise DataError(
            f"NaN or Inf in {bad} of {len(array)} samples of {name}; remove those samples"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(spec.dtype)
    if np.issubdtype(converted.dtype, np.floating):
        if not np.isfinite(converted).all():
            raise DataError(f"samples of {name} exceed the range of {spec.dtype}; scale them")
    elif not np.array_equal(converted, array):
        raise DataError(
            f"samples of {name} have dtype {array.dtype} and values that {spec.dtype} cannot hold; "
            f"expected {spec.dtype}"
        )
    return converted


def _check_variety(array: np.ndarray, name: str) -> None:
    if np.ptp(array) == 0:
        raise DataError(
            f"all calibration samples of {name} are {array.flat[0]:g}; expected real samples"
        )
    # A last axis shorter than the one before it holds channels; the columns of an image do not
    # count, and may well be constant.
    if array.ndim < 3 or array.shape[-1] >= array.shape[-2]:
        return
    constant = np.flatnonzero(np.ptp(array.reshape(-1, array.shape[-1]), axis=0) == 0)
    if len(constant):
        raise DataError(
            f"channel {', '.join(map(str, constant[:5]))} of {name} has the same value in all "
            "calibration samples; use samples in which it varies, or drop the channel"
        )


def _check_range(array: np.ndarray, evaluation: np.ndarray, name: str) -> None:
    edges = [EDGE_PERCENT, 100 - EDGE_PERCENT]
    low, high = np.percentile(array, edges)
    expected_low, expected_high = np.percentile(evaluation, edges)
    spread, expected_spread = high - low, expected_high - expected_low
    apart = abs((high + low) - (expected_high + expected_low)) / 2
    if (
        spread > MAX_SPREAD_RATIO * expected_spread
        or expected_spread > MAX_SPREAD_RATIO * spread
        or apart > max(spread, expected_spread)
    ):
        raise DataError(
            f"calibration samples of {name} lie in [{low:.3g}, {high:.3g}] and the evaluation "
            f"samples in [{expected_low:.3g}, {expected_high:.3g}]; scale both the same way"
        )
