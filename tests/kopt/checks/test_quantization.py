import numpy as np
import pytest

from kopt import checks
from kopt.checks.check import NO_QUESTION, NOT_ANSWERED
from leankeras.conversion.tflite import convert
from leankeras.kernels import Kernel
from leankeras.runtime.flatbuffer import TFLiteFile

VALUES = np.array([-1.3, 0.02, 2.2, 3.8, 0.777], dtype=np.float32)
LOW, HIGH = -1.3, 3.8
SCALE = (HIGH - LOW) / 255
ZERO = round(-128 - LOW / SCALE)
WHOLE = np.round(VALUES / SCALE) + ZERO


@pytest.mark.parametrize(
    "answer",
    [(SCALE, ZERO, WHOLE), (SCALE, float(ZERO), list(WHOLE)), (SCALE, ZERO, WHOLE.astype("int8"))],
)
def test_numbers_quantized_as_the_specification_says_are_right(answer):
    assert checks.int8_values(*answer, VALUES).passed


@pytest.mark.parametrize(
    ("values", "zero_point"),
    [([1.0, 5.0], -128), ([-5.0, -1.0], 127), ([-2.0, 2.0], 0), ([-2.0, 2.0], -1)],
)
def test_the_range_always_holds_zero_and_a_half_may_be_rounded_either_way(values, zero_point):
    values = np.array(values)
    scale = (max(values.max(), 0) - min(values.min(), 0)) / 255
    whole = np.clip(np.round(values / scale + zero_point), -128, 127)
    assert checks.int8_values(scale, zero_point, whole, values).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((..., ZERO, WHOLE), "scale, zero_point and whole"),
        ((SCALE, ..., WHOLE), "scale, zero_point and whole"),
        ((SCALE, ZERO, ...), "scale, zero_point and whole"),
        (((HIGH - LOW) / 256, ZERO, WHOLE), "255 steps between 256 numbers"),
        ((1 / SCALE, ZERO, WHOLE), "upside down"),
        ((HIGH / 127, ZERO, WHOLE), "that is for weights"),
        ((2 * HIGH / 255, ZERO, WHOLE), "not the same on both sides"),
        (((HIGH - LOW) / 127, ZERO, WHOLE), "from -128 to 127"),
        ((HIGH / 255, ZERO, WHOLE), "starts at its lower end"),
        ((HIGH - LOW, ZERO, WHOLE), "that is the range"),
        (("0.02", ZERO, WHOLE), "expected a number, the scale"),
        ((SCALE, ZERO + 0.4, WHOLE), "a whole number"),
        ((SCALE, ZERO + 128, WHOLE), "counts from 0, as uint8"),
        ((SCALE, -ZERO, WHOLE), "the sign"),
        ((SCALE, round(-128 + LOW / SCALE), WHOLE), "mind the two minus signs"),
        ((SCALE, round(LOW / SCALE), WHOLE), "must become -128"),
        ((SCALE, 0, WHOLE), "in the middle for weights"),
        ((SCALE, 100, WHOLE), "count in steps"),
        ((SCALE, None, WHOLE), "expected a whole number"),
        ((SCALE, ZERO, WHOLE - ZERO), "the zero point is missing"),
        ((SCALE, ZERO, WHOLE + 1), "int8 holds only -128 to 127"),
        ((SCALE, ZERO, WHOLE - 2 * ZERO), "int8 holds only -128 to 127"),
        ((SCALE, ZERO, VALUES / SCALE + ZERO), "round them"),
        ((SCALE, ZERO, np.floor(VALUES / SCALE) + ZERO), "truncating"),
        ((SCALE, ZERO, np.zeros(5)), "then round"),
        ((SCALE, ZERO, WHOLE[:2]), "expected 5 numbers"),
        ((SCALE, ZERO, "none"), "expected 5 numbers"),
    ],
)
def test_each_mistake_gets_its_hint(answer, hint):
    check = checks.int8_values(*answer, VALUES)
    assert not check.passed
    assert hint in check.message


def test_values_that_are_all_zero_are_asked_nothing_about():
    assert checks.int8_values(1, 0, [0], np.zeros(1)).state == NO_QUESTION
    assert checks.int8_values(..., ..., ..., np.zeros(1)).state == NOT_ANSWERED


def outlier(answer):
    return checks.error_with_outlier(answer, VALUES, outlier=10 * HIGH)


@pytest.mark.parametrize("answer", [(10 * HIGH - LOW) / 510, (10 * HIGH - LOW) / 512])
def test_half_a_step_of_the_wider_range_is_right(answer):
    assert outlier(answer).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (..., "the largest rounding error"),
        ((10 * HIGH - LOW) / 255, "a whole step"),
        (SCALE / 2, "without the outlier"),
        (SCALE, "a whole step without the outlier"),
        (10 * SCALE / 2, "only the upper end"),
        (10 * HIGH / 510, "starts at its lower end"),
        ((10 * HIGH - LOW) / 1020, "halfway"),
        (5, "the range now ends at the outlier"),
    ],
)
def test_other_errors_are_not(answer, hint):
    check = outlier(answer)
    assert not check.passed
    assert hint in check.message


def test_an_outlier_that_is_none_is_asked_nothing_about():
    assert checks.error_with_outlier(1, VALUES, outlier=1.0).state == NO_QUESTION


KERNEL = Kernel("conv", window=5, inputs=32, outputs=64, has_bias=True)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (..., "the number of bytes"),
        (10_240, "and the biases?"),
        (10_304, "too large for 8 bits"),
        (4 * 10_304, "that is float32"),
        (4 * 10_240, "the float32 kernel"),
        (4 * 10_240 + 64, "the other way round"),
        (8 * 10_304, "those are bits"),
        (8 * 10_496, "how many bytes?"),
        (10_240 + 128, "16 bits are not enough"),
        (10.496, "a thousand times too small"),
        (1, "too small; weights: window"),
    ],
)
def test_each_miscount_of_bytes_gets_its_hint(answer, hint):
    check = checks.int8_bytes(answer, KERNEL)
    assert not check.passed
    assert hint in check.message


def test_the_bytes_are_those_of_a_converted_file(small_model, blobs, tmp_path):
    """Constants of the convolution in a real int8 file, counted tensor by tensor."""
    made = convert(small_model, tmp_path / "a.tflite", "int8", blobs.x_train[:32])
    file = TFLiteFile(made.path)
    convolution = next(op for op in file.operators if op.kind == "CONV_2D")
    constants = [file.tensors[index] for index in convolution.inputs[1:]]
    size = {"int8": 1, "int32": 4}
    total = sum(size[tensor.type] * int(np.prod(tensor.shape)) for tensor in constants)
    assert checks.int8_bytes(total, checks.widest_kernel(small_model)).passed
