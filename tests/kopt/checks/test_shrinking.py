import keras
import numpy as np
import pytest

from kopt import checks
from kopt.checks.check import NO_QUESTION, NOT_ANSWERED
from leankeras.kernels import Kernel

CONV = Kernel("conv_3", window=5, inputs=32, outputs=64, has_bias=True)
PLAIN = Kernel("conv_3", window=9, inputs=33, outputs=65, has_bias=False)


def test_what_a_real_removal_leaves_is_what_is_right():
    """The count by hand against a layer that was built with half of both."""
    halved = keras.layers.Conv1D(32, 5)
    halved.build((None, 20, 16))
    assert checks.kept_parameters(halved.count_params(), CONV).passed
    assert checks.kept_parameters(9 * 16 * 32, PLAIN).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (..., "the number of parameters that stay"),
        (5 * 16 * 32, "and the biases?"),
        (5 * 16 * 32 + 64, "a bias goes with its output"),
        (5 * 32 * 32, "one side only"),
        (5 * 32 * 32 + 32, "half of everything"),
        (5 * 32 * 32 + 64, "halves the inputs only"),
        ((5 * 32 * 64 + 64) / 4, "the biases only with the outputs"),
        (5 * 32 * 64 + 64 - 2592, "what is removed"),
        (2593, "too large"),
    ],
)
def test_each_miscount_gets_its_hint(answer, hint):
    check = checks.kept_parameters(answer, CONV)
    assert not check.passed
    assert hint in check.message


def test_a_model_without_kernels_is_asked_nothing():
    kernel = checks.widest_kernel(keras.Sequential([keras.Input((4,)), keras.layers.ReLU()]))
    assert checks.kept_parameters(0, kernel).state == NO_QUESTION
    assert checks.int8_bytes(0, kernel).state == NO_QUESTION


LOGITS = np.array([1.0, 0.5, -0.5, 0.2], dtype=np.float32)


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


@pytest.mark.parametrize(
    "answer",
    [
        softmax(LOGITS / 4),
        list(softmax(LOGITS / 4)),
        keras.ops.softmax(LOGITS / 4),
        softmax(LOGITS / 4).round(5),
    ],
    ids=["array", "list", "tensor", "rounded"],
)
def test_the_softmax_of_the_divided_logits_is_right(answer):
    assert checks.soft_targets(answer, LOGITS, temperature=4).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (softmax(LOGITS), "temperature 1"),
        (softmax(LOGITS * 4), "harder"),
        (softmax(LOGITS) / 4, "before the exponential"),
        (np.exp(LOGITS / 4), "add up to 1"),
        (LOGITS / 4, "still logits"),
        ([1, 0, 0, 0], "hard label"),
        ([0.5, 0.5, 0.5, 0.5], "these add up to 2"),
        ([0.25, 0.25, 0.25, 0.25], "divide the logits"),
        ([0.5, 0.5], "expected 4 finite numbers"),
        (0.5, "expected 4 finite numbers"),
        ("softmax", "expected 4 finite numbers"),
        ([[1], [2, 3]], "expected 4 finite numbers"),
        ([np.nan] * 4, "expected 4 finite numbers"),
        (None, "expected 4 finite numbers"),
    ],
)
def test_other_probabilities_are_not(answer, hint):
    check = checks.soft_targets(answer, LOGITS, temperature=4)
    assert not check.passed
    assert hint in check.message


def test_dots_are_no_probabilities_and_large_logits_no_overflow():
    assert checks.soft_targets(..., LOGITS, 4).state == NOT_ANSWERED
    assert checks.soft_targets([1.0, 0.0], np.array([2000.0, 0.0]), 1).passed
