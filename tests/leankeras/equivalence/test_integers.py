"""Small whole numbers: a right rewrite is equal to the last bit, a wrong one off by whole ones."""

import keras
import numpy as np
import pytest
from keras import ops

from leankeras.equivalence import check_equivalence
from tests.layers.convolutions import FilterLoop, fused, port_filters
from tests.layers.pattern import Formula

SIZE = 4


def whole(result):
    return result.probes[result.probes.probe == "whole numbers"]


def check(reference, candidate, **shapes):
    pair = (Formula(function, **shapes) for function in (reference, candidate))
    return check_equivalence(*pair, (6, SIZE))


def test_a_right_rewrite_is_equal_to_the_last_bit():
    rows = whole(check_equivalence(FilterLoop(), fused(), (32, 6), port=port_filters))
    assert len(rows)
    assert rows.equal.all()
    assert (rows.max_abs_diff == 0).all()
    assert (rows.tolerance == 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda layer, x: ops.cast(ops.matmul(x, layer.w) >= 1, "float32"),  # at 1 itself
        lambda layer, x: (
            ops.cast(ops.matmul(x, layer.w) > 1.00001, "float32") * 1.0
            + ops.cast(ops.equal(ops.matmul(x, layer.w), 1), "float32")
        ),
    ],
)
def test_what_only_shows_on_a_tie_shows_on_whole_numbers(wrong):
    result = check(
        lambda layer, x: ops.cast(ops.matmul(x, layer.w) > 1, "float32"), wrong, w=(4, 2)
    )
    failed = result.probes[~result.probes.equal]
    assert set(failed.probe) == {"whole numbers"}
    assert (failed.max_abs_diff == 1).all()


def test_a_difference_below_the_tolerance_of_floats_shows():
    def clipped(layer, x):
        # A sum cut off at large values, where only the tolerance of large numbers applies.
        return ops.matmul(x, layer.w) + ops.cast(
            ops.equal(ops.round(x[..., :1]), x[..., :1]), "float32"
        )

    result = check(lambda layer, x: ops.matmul(x, layer.w), clipped, w=(SIZE, 2))
    assert not whole(result).equal.all()


@pytest.mark.parametrize(
    "inexact",
    [
        lambda layer, x: ops.tanh(ops.matmul(x, layer.w)),
        lambda layer, x: ops.matmul(x, layer.w) / 3,
        lambda layer, x: ops.mean(ops.matmul(x, layer.w), axis=1),
        lambda layer, x: ops.round(ops.matmul(x, layer.w) * 0.1),  # a tie of fractions
        lambda layer, x: ops.matmul(x, layer.w) * 1e7,  # beyond where float32 can count in ones
        lambda layer, x: ops.argmax(ops.softmax(ops.matmul(x, layer.w)), axis=-1),
    ],
)
def test_inexact_functions_are_not_held_to_it(inexact):
    result = check(inexact, inexact, w=(SIZE, 2))
    assert result.equivalent, repr(result)
    assert not len(whole(result))


def test_a_rewrite_by_fractions_has_the_tolerance_of_floats():
    def thirds(layer, x):
        return ops.matmul(x / 3, layer.w) * 3

    result = check(lambda layer, x: ops.matmul(x, layer.w), thirds, w=(SIZE, 2))
    assert result.equivalent, repr(result)
    assert len(whole(result))


def test_a_port_that_sets_what_is_no_weight_is_followed():
    class Constant(keras.Layer):
        def call(self, x):
            return ops.matmul(x, self.table)

    constant = Constant()
    constant.table = np.zeros((SIZE, 2), "float32")

    def port(reference, candidate):
        candidate.table = np.asarray(reference.kernel)

    dense = keras.layers.Dense(2, use_bias=False)
    result = check_equivalence(dense, constant, (6, SIZE), port=port)
    assert len(whole(result))
    assert whole(result).equal.all()


def test_half_precision_is_not_held_to_it():
    pair = (keras.layers.Dense(2, dtype="float16") for _ in range(2))
    assert not len(whole(check_equivalence(*pair, (SIZE,))))
