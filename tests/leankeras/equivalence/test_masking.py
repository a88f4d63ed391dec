"""Keras masks reach a reference and its rewrite as they would in a model."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from leankeras.equivalence import check_equivalence

STEPS, SIZE = 6, 3


class Pooling(keras.Layer):
    """The mean of the steps that the mask leaves."""

    def __init__(self, heeds=True, hands_on=False):
        super().__init__()
        self.heeds, self.hands_on = heeds, hands_on
        self.supports_masking = True

    def call(self, x, mask=None):
        if mask is None or not self.heeds:
            return x - ops.mean(x, axis=1, keepdims=True)
        kept = ops.cast(mask, x.dtype)[..., None]
        return x - ops.sum(x * kept, axis=1, keepdims=True) / ops.sum(kept, axis=1, keepdims=True)

    def compute_mask(self, x, mask=None):
        return mask if self.hands_on else None


def failed(result):
    return {tuple(row) for row in result.probes[~result.probes.equal][["probe", "compared"]].values}


def test_a_rewrite_that_ignores_the_mask_is_refused():
    result = check_equivalence(Pooling(), Pooling(heeds=False), (STEPS, SIZE))
    assert result.verdict == "not equivalent"
    assert failed(result) == {("Keras mask", "output"), ("Keras mask with holes", "output")}
    assert check_equivalence(Pooling(), Pooling(), (STEPS, SIZE)).equivalent


def test_a_mask_that_is_not_handed_on_is_missed():
    pair = Pooling(hands_on=True), Pooling()
    assert ("Keras mask", "mask of output") in failed(check_equivalence(*pair, (STEPS, SIZE)))
    both = Pooling(hands_on=True), Pooling(hands_on=True)
    assert check_equivalence(*both, (STEPS, SIZE)).equivalent


def test_where_the_reference_ignores_masks_none_is_tried():
    result = check_equivalence(Pooling(heeds=False), Pooling(), (STEPS, SIZE))
    assert result.equivalent
    assert not any("mask" in probe for probe in result.probes.probe)


@pytest.mark.parametrize(
    ("reference", "wrong"),
    [
        (layers.GlobalAveragePooling1D, lambda: layers.Lambda(lambda x: ops.mean(x, axis=1))),
        (
            lambda: layers.LSTM(2),
            lambda: keras.Sequential([layers.ZeroPadding1D(0), layers.LSTM(2)]),
        ),
    ],
)
def test_layers_of_keras_heed_masks(reference, wrong):
    assert check_equivalence(reference(), reference(), (STEPS, SIZE)).equivalent
    result = check_equivalence(reference(), wrong(), (STEPS, SIZE))
    assert {probe for probe, _ in failed(result)} == {"Keras mask", "Keras mask with holes"}


class Attention(keras.Layer):
    def __init__(self, heeds=True):
        super().__init__()
        self.heeds = heeds

    def call(self, x, attention_mask=None):
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        if attention_mask is not None and self.heeds:
            scores = ops.where(attention_mask, scores, -1e9)
        return ops.matmul(ops.softmax(scores), x)


class Unmasked(keras.Layer):
    def call(self, x):
        return ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x)


def test_other_masks_that_call_takes_are_passed():
    result = check_equivalence(Attention(), Attention(heeds=False), (STEPS, SIZE))
    assert failed(result) == {("attention_mask", "output")}
    assert check_equivalence(Attention(), Attention(), (STEPS, SIZE)).equivalent
    without = check_equivalence(Attention(), Unmasked(), (STEPS, SIZE))
    assert without.equivalent
    (left_out,) = without.not_compared
    assert left_out.startswith("the argument attention_mask: candidate unmasked")


def test_weights_and_inputs_are_left_without_a_mask():
    lstm = layers.LSTM(2)
    lstm.build((None, STEPS, SIZE))
    x = np.ones((1, STEPS, SIZE), "float32")
    before = lstm(x)
    check_equivalence(lstm, layers.LSTM(2), (STEPS, SIZE))
    np.testing.assert_array_equal(lstm(x), before)
