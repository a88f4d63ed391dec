"""Exercises on int8: scale and zero point, rounding error, bytes in a file.

The formulas come from LiteRT's quantization specification
(https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec).
"""

from typing import Any

import numpy as np

from kopt.checks.check import (
    Check,
    as_number,
    as_numbers,
    check_number,
    no_question,
    not_answered,
    not_yet,
    right,
)
from leankeras.kernels import Kernel

LOWEST, HIGHEST = -128, 127
STEPS = HIGHEST - LOWEST
HALF = 0.5 + 1e-3  # a number halfway between two may be rounded either way


def int8_values(scale: Any, zero_point: Any, whole: Any, values: np.ndarray) -> Check:
    """Whether numbers were quantized to int8 the way the file quantizes activations.

    ``values ≈ scale * (whole - zero_point)``: the range of the values, extended to include 0,
    maps to -128 to 127. The three answers are checked one after the other.

    Args:
        scale: real size of one step.
        zero_point: the whole number that stands for 0.
        whole: the values as whole numbers, shape ``(n,)``.
        values: the real numbers, shape ``(n,)``.

    Example:
        >>> int8_values(0.02, -78, [-128, 127], np.array([-1.0, 4.1]))
        right: the largest error is 0, half a step is 0.01
    """
    if scale is ... or zero_point is ... or whole is ...:
        return not_answered("replace the dots with scale, zero_point and whole, in this order")
    values = np.asarray(values, dtype=float)
    low, high = min(values.min(), 0), max(values.max(), 0)
    if low == high:
        return no_question("all values are 0")
    checked = _scale(scale, low, high)
    if not checked.passed:
        return checked
    checked = _zero_point(zero_point, float(scale), low)
    if not checked.passed:
        return checked
    return _whole(whole, float(scale), int(zero_point), values)


def _scale(scale: Any, low: float, high: float) -> Check:
    widest = max(-low, high)
    return check_number(
        scale,
        (high - low) / STEPS,
        task="the scale",
        because="scale",
        hint="scale: divide the whole range, from the lower to the upper end, into 255 steps",
        mistakes=(
            ((high - low) / 256, "scale: there are 255 steps between 256 numbers"),
            (STEPS / (high - low), "scale: upside down; it is the real size of one step"),
            (widest / HIGHEST, "scale: that is for weights, around 0; here both ends are used"),
            (2 * widest / STEPS, "scale: this range is not the same on both sides of 0"),
            ((high - low) / HIGHEST, "scale: int8 runs from -128 to 127, not from 0"),
            (high / STEPS, "scale: the range starts at its lower end, not at 0"),
            (high - low, "scale: that is the range; how large is one step?"),
        ),
        tolerance=1e-3,
    )


def _zero_point(zero_point: Any, scale: float, low: float) -> Check:
    number, exact = as_number(zero_point), LOWEST - low / scale
    if number is None:
        return not_yet(f"zero_point: saw {zero_point!r:.60}; expected a whole number")
    if number.is_integer() and abs(number - exact) <= HALF:
        return right("zero point")
    mistakes = (
        (exact, "zero_point: it must be a whole number, or 0 would not be exact"),
        (exact - LOWEST, "zero_point: that counts from 0, as uint8 does; int8 starts at -128"),
        (-exact, "zero_point: the sign is wrong"),
        (LOWEST + low / scale, "zero_point: the lower end is below 0; mind the two minus signs"),
        (low / scale, "zero_point: the lower end of the range must become -128"),
        (0, "zero_point: 0 is in the middle for weights; here -128 stands for the lower end"),
    )
    for value, text in mistakes:
        if abs(number - value) <= HALF:
            return not_yet(text)
    return not_yet("zero_point: count in steps from -128: on which number does the real 0 fall?")


def _whole(whole: Any, scale: float, zero_point: int, values: np.ndarray) -> Check:
    given = as_numbers(whole, values.shape)
    if given is None:
        return not_yet(f"whole: expected {len(values)} numbers, one for each value")
    steps = values / scale
    exact = np.clip(steps + zero_point, LOWEST, HIGHEST)
    if not np.array_equal(given, np.round(given)):
        return not_yet("whole: these are not whole numbers; round them")
    if np.all(np.abs(given - exact) <= HALF):
        error = np.max(np.abs(scale * (given - zero_point) - values))
        return right(f"the largest error is {error:.2g}, half a step is {scale / 2:.2g}")
    if np.all(np.abs(given - steps) <= HALF):
        return not_yet("whole: the zero point is missing")
    if np.any(given < LOWEST) or np.any(given > HIGHEST):
        return not_yet("whole: int8 holds only -128 to 127; did you add the zero point?")
    if np.all(np.abs(given - exact) < 1):
        return not_yet("whole: round to the nearest number; truncating doubles the error")
    return not_yet("whole: solve real = scale × (whole - zero point) for whole, then round")


def error_with_outlier(answer: Any, values: np.ndarray, outlier: float) -> Check:
    """The largest rounding error of int8 after calibration with one value that is too large.

    Args:
        answer: the error, in the unit of the values.
        values: the usual values, shape ``(n,)``.
        outlier: the one value above all others.

    Example:
        >>> error_with_outlier(0.1, np.array([-1.0, 4.0]), outlier=50.0)
        right: 0.1 is half a step; without the outlier it was 0.0098, a factor of 10.2
    """
    low, high = min(np.min(values), 0), max(np.max(values), 0)
    if not outlier > high:
        return no_question("the outlier is not above the other values")
    step, usual = (outlier - low) / STEPS, (high - low) / STEPS
    return check_number(
        answer,
        step / 2,
        task="the largest rounding error, a number",
        because=f"{step / 2:.2g} is half a step; without the outlier it was {usual / 2:.2g}, "
        f"a factor of {step / usual:.3g}",
        hint="the range now ends at the outlier; how large is a step, and how far can a number be "
        "from the nearest one?",
        mistakes=(
            (step, "that is a whole step; how far away can the nearer neighbour be?"),
            (usual / 2, "that is the error without the outlier"),
            (usual, "that is a whole step without the outlier"),
            (usual / 2 * outlier / high if high else 0, "only the upper end has moved"),
            (outlier / STEPS / 2, "the range starts at its lower end, not at 0"),
            (step / 4, "a number can be halfway between two neighbours"),
        ),
        tolerance=0.01,
    )


def int8_bytes(answer: Any, kernel: Kernel) -> Check:
    """How many bytes the weights and biases of a layer take in an int8 file.

    A weight takes one byte. A bias takes four: it is added to a sum of products of int8 numbers,
    which is kept in 32 bits, and it has the scale of that sum.

    Args:
        answer: bytes, not counting scales and names.
        kernel: the layer's kernel; each output has a bias in the file.

    Example:
        >>> int8_bytes(10_496, Kernel("conv", window=5, inputs=32, outputs=64, has_bias=True))
        right: 10,240 weights of one byte and 64 biases of four
    """
    if not kernel.outputs:
        return no_question("the model has no dense or convolutional layer")
    weights, biases = kernel.window * kernel.inputs * kernel.outputs, kernel.outputs
    return check_number(
        answer,
        weights + 4 * biases,
        task="the number of bytes, a whole number",
        because=f"{weights:,} weights of one byte and {biases} biases of four",
        hint="weights: window × inputs × outputs; biases: one for each output",
        mistakes=(
            (weights, "and the biases?"),
            (weights + biases, "a bias is added to a sum of products, too large for 8 bits"),
            (4 * (weights + biases), "that is float32; which of them take 4 bytes in int8?"),
            (4 * weights, "that is the float32 kernel; a weight takes one byte now"),
            (4 * weights + biases, "the other way round: which of them need more than 8 bits?"),
            (8 * (weights + biases), "those are bits, and a bias takes more than 8 of them"),
            (8 * (weights + 4 * biases), "those are bits; how many bytes?"),
            (weights + 2 * biases, "16 bits are not enough for a sum of products either"),
        ),
        tolerance=1e-9,
    )
