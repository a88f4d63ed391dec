"""Blind spots of the probes are noticed, and not confused with weights that never matter."""

import keras
import numpy as np
import pytest
from keras import ops

from leankeras.equivalence import check_equivalence
from tests.layers.pattern import Formula

SIZE = 4


def check(reference, candidate, input_shape=(6, SIZE), samples=None, seed=0, **shapes):
    keras.utils.set_random_seed(seed)  # with other weights, other probes show what is hidden
    pair = (Formula(function, **shapes) for function in (reference, candidate))
    return check_equivalence(*pair, input_shape, samples=samples)


def behind(threshold, seen=lambda w: w):
    """A layer whose weight matters beyond a threshold only."""
    return lambda layer, x: ops.where(ops.abs(x) > threshold, x * seen(layer.w), x)


@pytest.mark.parametrize(
    ("wrong", "name"), [(lambda w: 2 * w, "twice the weight"), (lambda w: 0 * w, "no weight")]
)
def test_a_weight_that_nothing_depends_on_is_not_called_equivalent(wrong, name):
    result = check(behind(1e6), behind(1e6, wrong), w=(SIZE,))
    assert result.verdict == "cannot tell"
    assert result.blind_to == ("w",)
    assert result.reason == "no output depended on `w`; give samples"


def test_samples_open_its_eyes():
    samples = np.full((5, 6, SIZE), 2e6)
    assert check(behind(1e6), behind(1e6), samples=samples, w=(SIZE,)).equivalent
    wrong = behind(1e6, lambda w: 2 * w)
    assert check(behind(1e6), wrong, samples=samples, w=(SIZE,)).verdict == "not equivalent"


def test_samples_that_do_not_show_it_either_are_not_enough():
    result = check(behind(1e6), behind(1e6), samples=np.ones((5, 6, SIZE)), w=(SIZE,))
    assert result.verdict == "cannot tell"
    assert "not even on the samples" in result.reason


def test_an_input_that_nothing_depends_on_is_named():
    def gated(layer, inputs):
        x, step = inputs
        return x + ops.cast(ops.equal(ops.floor(step), 12345), "float32")[..., None]

    result = check(gated, gated, [(6, SIZE), (6,)])
    assert result.verdict == "cannot tell"
    assert result.blind_to == ("input 1",)


def test_two_weights_of_one_name_are_told_apart_by_their_paths():
    def model():
        inputs = keras.Input((3,))
        first = keras.layers.Dense(3, name="first")(inputs)
        second = keras.layers.Dense(3, name="second")(ops.relu(inputs - 1e6))
        return keras.Model(inputs, first + 0 * second)

    assert check_equivalence(model(), model(), (3,)).blind_to == ("second/kernel", "second/bias")


def hidden(branch):
    """Behind a softmax that is one-hot on every usual probe: only tiny inputs show the scores."""
    return lambda layer, x: ops.einsum(
        "bt,btd->bd", ops.softmax(branch(layer, x) + 1e5 * ops.max(ops.abs(x), axis=2)), x
    )


@pytest.mark.parametrize("seed", [0, 5])  # with the weights of 5 the scores hardly show
def test_a_search_finds_inputs_that_show_what_the_usual_ones_hide(seed):
    def scores(layer, x):
        return ops.matmul(x, layer.w)[..., 0]

    right = check(hidden(scores), hidden(scores), seed=seed, w=(SIZE, 1))
    assert right.verdict == "equivalent", repr(right)
    twice = hidden(lambda layer, x: 2 * scores(layer, x))
    wrong = check(hidden(scores), twice, seed=seed, w=(SIZE, 1))
    assert not wrong.equivalent


@pytest.mark.parametrize(
    ("reference", "candidate", "shapes"),
    [
        (  # the bias of the keys moves all scores of a query alike
            lambda layer, x: (
                ops.softmax((x @ layer.q) @ ops.transpose(x @ layer.k + layer.b, (0, 2, 1))) @ x
            ),
            lambda layer, x: ops.softmax((x @ layer.q) @ ops.transpose(x @ layer.k, (0, 2, 1))) @ x,
            {"q": (SIZE, SIZE), "k": (SIZE, SIZE), "b": (SIZE,)},
        ),
        (  # one bias for all classes
            lambda layer, x: ops.softmax(x @ layer.w + layer.b),
            lambda layer, x: ops.softmax(x @ layer.w),
            {"w": (SIZE, 2), "b": (1,)},
        ),
        (  # a scale that a normalization takes out
            lambda layer, x: ops.normalize(ops.exp(layer.s) * x, axis=-1),
            lambda layer, x: ops.normalize(x, axis=-1),
            {"s": (1,)},
        ),
        (  # a weight that is never read
            lambda layer, x: x @ layer.w,
            lambda layer, x: x @ layer.w,
            {"w": (SIZE, 2), "unused": (3,)},
        ),
        (  # only its shape is read
            lambda layer, x: x + ops.zeros_like(layer.s),
            lambda layer, x: x,
            {"s": (SIZE,)},
        ),
    ],
)
def test_a_weight_that_matters_nowhere_is_no_reason_for_doubt(reference, candidate, shapes):
    result = check(reference, candidate, **shapes)
    assert result.verdict == "equivalent", repr(result)


def test_a_weight_that_no_output_reads_is_said():
    result = check(
        lambda layer, x: x @ layer.w, lambda layer, x: x @ layer.w, w=(SIZE, 2), unused=(3,)
    )
    assert result.not_compared == ("`unused`, which no output depends on",)


def test_statistics_that_are_not_trained_count_as_weights():
    def frozen(layer, x):
        return ops.where(ops.abs(x) > 1e6, x - layer.moving_mean, x)

    class Statistics(Formula):
        def build(self, shape):
            self.moving_mean = self.add_weight(shape=(SIZE,), name="moving_mean", trainable=False)

    result = check_equivalence(Statistics(frozen), Statistics(frozen), (6, SIZE))
    assert result.blind_to == ("moving_mean",)
    assert check_equivalence(
        keras.layers.BatchNormalization(), keras.layers.BatchNormalization(), (SIZE,)
    ).equivalent
