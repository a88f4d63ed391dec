"""Gradients are compared relative to the size of the terms they sum."""

import keras
import numpy as np
import pytest
from keras import ops

from leankeras.equivalence import check_equivalence
from tests.layers.pattern import Formula

SIZE, LEAVES = 4, 8


def check(reference, candidate, input_shape=(SIZE,), **shapes):
    pair = (Formula(function, **shapes) for function in (reference, candidate))
    return check_equivalence(*pair, input_shape)


def gradients(result):
    return result.probes[result.probes.compared.str.startswith("gradient")]


def leaves(softmax):
    def function(layer, x):
        reach = ops.softmax(ops.matmul(x, layer.split))
        return ops.matmul(reach, softmax(layer.leaves))

    return function


def written_out(values):
    powers = ops.exp(values - ops.max(values, axis=-1, keepdims=True))
    return powers / ops.sum(powers, axis=-1, keepdims=True)


SHAPES = {"split": (SIZE, LEAVES), "leaves": (LEAVES, 3)}


def test_what_cancels_to_nothing_may_be_all_rounding():
    result = check(leaves(ops.softmax), leaves(written_out), **SHAPES)
    assert result.equivalent, repr(result)
    assert len(gradients(result)) == 3


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda values: ops.stop_gradient(ops.softmax(values)), "leaves"),
        (lambda values: ops.softmax(0.5 * values + ops.stop_gradient(0.5 * values)), "leaves"),
    ],
)
def test_a_wrong_gradient_is_still_found(wrong, named):
    result = check(leaves(ops.softmax), leaves(wrong), **SHAPES)
    failed = result.probes[~result.probes.equal]
    assert len(failed) == 1
    assert failed.compared.iloc[0].endswith(named)


def test_the_gradient_of_a_saturated_softmax_is_no_fault():
    def saturated(softmax):
        return lambda layer, x: softmax(100 * ops.matmul(x, layer.w))

    result = check(saturated(ops.softmax), saturated(written_out), w=(SIZE, 3))
    assert gradients(result).equal.all(), repr(result)


def test_a_bias_that_a_softmax_ignores_has_no_slope_to_keep():
    def attention(keys):
        def function(layer, x):
            scores = ops.einsum("btd,bsd->bts", ops.matmul(x, layer.q), keys(layer, x))
            return ops.matmul(ops.softmax(scores), x)

        return function

    shapes = {"q": (SIZE, SIZE), "k": (SIZE, SIZE), "b": (SIZE,)}
    with_bias = attention(lambda layer, x: ops.matmul(x, layer.k) + layer.b)
    without = attention(lambda layer, x: ops.matmul(x, layer.k))
    assert check(with_bias, without, (6, SIZE), **shapes).equivalent


def test_a_mask_has_no_gradient_to_keep():
    class Masked(keras.Layer):
        def __init__(self, hide):
            super().__init__()
            self.hide = hide

        def call(self, x, mask):
            return ops.softmax(self.hide(x, mask))

    penalty = Masked(lambda x, mask: x + (1 - mask) * -1e9)
    choice = Masked(lambda x, mask: ops.where(mask > 0, x, -1e9))
    result = check_equivalence(penalty, choice, [(SIZE,), (SIZE,)])
    assert result.equivalent, repr(result)
    assert list(gradients(result).compared) == ["gradient of input"]


def test_a_port_that_is_not_linear_is_said():
    def port(reference, candidate):
        candidate.w.assign(ops.exp(reference.w))

    powers = Formula(lambda layer, x: x * ops.exp(layer.w), w=(SIZE,))
    plain = Formula(lambda layer, x: x * layer.w, w=(SIZE,))
    result = check_equivalence(powers, plain, (SIZE,), port=port)
    assert result.equivalent, repr(result)
    (left_out,) = result.not_compared
    assert left_out.startswith("gradient of formula")
    assert left_out.endswith("port is not linear in it")


def test_a_port_that_multiplies_weights_is_linear_in_each():
    def port(reference, candidate):
        candidate.w.assign(np.asarray(reference.w) * np.asarray(reference.g))

    scaled = Formula(lambda layer, x: x * layer.w * layer.g, w=(SIZE,), g=(1,))
    plain = Formula(lambda layer, x: x * layer.w, w=(SIZE,))
    result = check_equivalence(scaled, plain, (SIZE,), port=port)
    assert result.equivalent, repr(result)
    assert len(gradients(result)) == 3


def test_a_reference_without_gradients_says_so():
    def levels(layer, x):
        return ops.cast(ops.round(x), "int32")

    result = check(levels, levels)
    assert result.equivalent
    assert result.not_compared == ("gradients: the reference has none",)
