"""Every right rewrite in tests/layers is accepted, and no wrong one is."""

import keras
import numpy as np
import pytest

from leankeras.equivalence import check_equivalence
from tests.layers import FUNCTIONS, PATTERNS


def named(side, owners):
    return [
        pytest.param(owner, *rewrite, id=f"{owner.name}: {name}")
        for owner in owners
        for name, rewrite in getattr(owner, side).items()
    ]


def check(owner, make, port, samples=None):
    keras.utils.set_random_seed(0)
    return check_equivalence(owner.slow(), make(), owner.input_shape, port=port, samples=samples)


@pytest.mark.parametrize(("pattern", "make", "port"), named("right", PATTERNS))
def test_a_right_rewrite_is_accepted(pattern, make, port):
    result = check(pattern, make, port)
    assert result.verdict == "equivalent", repr(result)
    assert result.probes.equal.all()
    assert result.blind_to == ()
    assert {"random", "zeros", "ones", "large", "small", "sparse"} <= set(result.probes.probe)


@pytest.mark.parametrize(("function", "make", "port"), named("right", FUNCTIONS))
def test_so_is_one_with_masks_or_indices_with_samples_and_without(function, make, port):
    samples = function.samples(np.random.default_rng(0))
    for given in (None, samples):
        result = check(function, make, port, given)
        assert result.verdict == "equivalent", repr(result)
    assert "samples" in set(result.probes.probe)


@pytest.mark.parametrize(("owner", "make", "port"), named("wrong", [*PATTERNS, *FUNCTIONS]))
def test_a_wrong_rewrite_is_not_accepted(owner, make, port):
    result = check(owner, make, port)
    assert not result.equivalent, repr(result)
    assert result.verdict == "not equivalent" or "empty mask" in result.reason


def test_there_are_enough_of_both():
    right, wrong = (named(side, [*PATTERNS, *FUNCTIONS]) for side in ("right", "wrong"))
    assert len(right) >= 40
    assert len(wrong) >= 60
