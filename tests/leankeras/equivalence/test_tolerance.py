"""How far apart two arrays may be: by channel, by what cancelled, by measured rounding."""

import numpy as np
import pytest

from leankeras.equivalence.tolerance import (
    RELATIVE,
    apart,
    distance,
    gradient_tolerance,
    output_tolerance,
    usual_size,
)

RNG = np.random.default_rng(0)


def tolerance(expected, rounding=None, usual=None, scale=1.0):
    rounding = np.zeros(expected.shape) if rounding is None else rounding
    usual = usual_size(expected) if usual is None else usual
    return output_tolerance(expected, RELATIVE, rounding, usual, scale)


@pytest.mark.parametrize("axis", [1, 2])
def test_confidences_beside_pixels_are_held_to_their_own_size(axis):
    boxes, scores = RNG.uniform(0, 640, (4, 20, 4)), RNG.uniform(0, 1, (4, 20, 1))
    expected = np.concatenate([boxes, scores], axis=2)
    low = np.concatenate([boxes, 0.99 * scores], axis=2)
    if axis == 1:
        expected, low = (np.swapaxes(each, 1, 2) for each in (expected, low))
    found = apart(expected, low, tolerance(expected))
    assert not found.equal
    assert found.tolerance < 3e-4
    assert distance(expected, low, RELATIVE).equal  # which one size for all would excuse


def test_a_channel_near_zero_by_cancellation_keeps_its_rounding():
    expected = RNG.normal(size=(3, 5, 2))
    usual = usual_size(expected)
    expected[..., 1] = 0
    noise = expected + np.float32(1e-7) * RNG.normal(size=expected.shape)
    assert apart(expected, noise, tolerance(expected, usual=usual)).equal
    assert not apart(expected, expected + 0.01, tolerance(expected, usual=usual)).equal


def test_measured_rounding_is_allowed_four_times():
    expected = RNG.normal(size=(3, 50, 2))
    rounding = np.zeros(expected.shape)
    rounding[0, 0, 0] = 0.1
    allowed = tolerance(expected, rounding)
    assert 0.4 < allowed[0, 0, 0] < 0.41
    assert allowed[1, 1, 1] < 0.02  # a single flip does not excuse the others


def test_nothing_is_compared_where_the_reference_is_not_finite():
    expected = np.array([[np.nan, 1.0], [np.inf, 2.0]])
    seen = np.array([[5.0, 1.0], [np.nan, 2.0]])
    assert apart(expected, seen, tolerance(expected)).equal
    assert not apart(expected, seen + np.array([0, 0.1]), tolerance(expected)).equal
    assert not apart(seen[:, 1:], expected[:, :1], 1e-3).equal


def test_whole_numbers_and_truth_values_are_to_be_equal():
    counts = np.array([[3, 4]])
    assert apart(counts, counts, tolerance(counts)).equal
    assert not apart(counts, counts + 1, tolerance(counts)).equal
    assert not distance(np.array([True]), np.array([False]), RELATIVE).equal


def test_a_gradient_may_be_off_by_its_own_rounding():
    gradient = np.full(4, 1e-8)
    allowed = gradient_tolerance(gradient, gradient + 3e-8, 1e-3)
    assert (allowed > 1e-7).all()
    assert (gradient_tolerance(gradient, gradient, 1e-3) < 1e-10).all()
