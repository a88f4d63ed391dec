import keras
import numpy as np
import pytest
from keras import ops

from leankeras.equivalence.comparison import check_equivalence
from leankeras.errors import EquivalenceError
from tests.layers import PATTERNS
from tests.layers.convolutions import FilterLoop, fused, port_filters

RIGHT = [(p, name) for p in PATTERNS for name in p.right]
WRONG = [(p, name) for p in PATTERNS for name in p.wrong]


def named(cases):
    return [pytest.param(*case, id=f"{case[0].name}: {case[1]}") for case in cases]


@pytest.mark.parametrize(("pattern", "name"), named(RIGHT))
def test_a_right_rewrite_is_accepted(pattern, name):
    make, port = pattern.right[name]
    result = check_equivalence(pattern.slow(), make(), pattern.input_shape, port=port)
    assert result.equivalent, repr(result)
    assert result.probes.equal.all()
    assert {"random", "zeros", "ones", "large", "small", "sparse"} <= set(result.probes.probe)


@pytest.mark.parametrize(("pattern", "name"), named(WRONG))
def test_a_wrong_rewrite_is_refused(pattern, name):
    make, port = pattern.wrong[name]
    result = check_equivalence(pattern.slow(), make(), pattern.input_shape, port=port)
    assert not result.equivalent, repr(result)
    assert "off by" in result.reason


class Function(keras.Layer):
    """A layer around a function of its input, to say in a line what differs."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x, training=False):
        return self.function(x)


def compare(reference, candidate, input_shape=(6, 4), **options):
    return check_equivalence(Function(reference), Function(candidate), input_shape, **options)


@pytest.mark.parametrize(
    ("candidate", "probe"),
    [
        (lambda x: ops.minimum(x, 20.0), "large"),
        (lambda x: ops.where(ops.abs(x) < 2e-3, 0.0, x), "small"),
        (lambda x: ops.where(ops.all(x == 0), 1.0, x), "zeros"),
        (lambda x: ops.where(ops.all(x == 1), 0.0, x), "ones"),
        (lambda x: ops.where(ops.sum(ops.cast(x == 0, "int32")) > 30, 2 * x, x), "sparse"),
        (lambda x: ops.where(ops.all(x[:, 0] == x[:, 1]), x + 1, x), "constant along axis 1"),
        (lambda x: ops.where(ops.all(x[..., 0] == x[..., 1]), x + 1, x), "constant along axis 2"),
        (lambda x: ops.mean(x, axis=0, keepdims=True) + 0 * x, "random"),
    ],
)
def test_each_kind_of_input_sees_what_the_others_may_miss(candidate, probe):
    result = compare(lambda x: x, candidate)
    failed = result.probes[~result.probes.equal]
    assert probe in set(failed.probe)


def test_the_place_of_the_worst_difference_is_named():
    def spoil(x):
        return x + np.eye(6, 4, dtype="float32")[::-1] * np.float32(3)

    result = compare(lambda x: x, spoil)
    worst = result.probes.iloc[0]
    assert worst.max_abs_diff == pytest.approx(3, abs=1e-5)
    _, row, column = (int(part) for part in worst["where"].strip("()").split(","))
    assert row == 5 - column
    assert f"at index {worst['where']}" in result.reason
    assert "on probe 'random'" in result.reason


def test_another_order_of_adding_is_rounding():
    def halves(x):
        return ops.sum(x[..., ::2], axis=-1) + ops.sum(x[..., 1::2], axis=-1)

    result = compare(lambda x: ops.sum(x, axis=-1), halves, (4096,))
    assert result.equivalent, repr(result)
    assert result.max_abs_diff > 0


@pytest.mark.parametrize("error", [1e-3, -1e-3])
def test_a_scale_off_by_a_thousandth_is_not(error):
    assert not compare(lambda x: x, lambda x: x * (1 + error)).equivalent


def test_a_sharp_softmax_has_the_tolerance_that_its_own_rounding_needs():
    def plain(x):
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        return ops.matmul(ops.softmax(scores, axis=-1), x)

    def other(x):
        scores = ops.einsum("btf,bsf->bst", x / 3, x * 3)
        return ops.einsum("bst,bsf->btf", ops.softmax(scores, axis=1), x)

    assert compare(plain, other, (16, 32)).equivalent


def test_where_the_reference_overflows_a_stable_rewrite_is_no_fault():
    def naive(x):
        return ops.exp(x) / ops.sum(ops.exp(x), axis=-1, keepdims=True)

    result = compare(naive, lambda x: ops.softmax(x, axis=-1), samples=np.full((2, 6, 4), 200.0))
    assert result.equivalent, repr(result)
    assert not compare(lambda x: x, lambda x: x / (x - x)).equivalent


def test_equal_outputs_with_other_gradients_are_refused():
    result = compare(ops.tanh, lambda x: ops.stop_gradient(ops.tanh(x)))
    failed = result.probes[~result.probes.equal]
    assert list(failed.compared) == ["gradient of input"]


class Gain(keras.Layer):
    def __init__(self, stopped=False, **kwargs):
        super().__init__(**kwargs)
        self.stopped = stopped

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gain")

    def call(self, x):
        return x * (ops.stop_gradient(self.gain) if self.stopped else self.gain)


def test_a_weight_that_would_no_longer_train_is_named():
    result = check_equivalence(Gain(), Gain(stopped=True), (4,))
    failed = result.probes[~result.probes.equal]
    assert len(failed) == 1
    assert failed.compared.iloc[0].endswith("gain")


def test_another_behaviour_in_training_is_refused():
    result = check_equivalence(
        keras.layers.BatchNormalization(), Function(lambda x: x), (4,), port=lambda *_: None
    )
    assert not result.equivalent
    frozen = keras.layers.BatchNormalization(trainable=False)
    result = check_equivalence(keras.layers.BatchNormalization(), frozen, (4,), port=port_all)
    assert set(result.probes[~result.probes.equal].compared) == {"output in training"}


def port_all(reference, candidate):
    names = {weight.name: weight for weight in candidate.weights}
    for weight in reference.weights:
        names[weight.name].assign(weight)


def test_dropout_in_training_is_not_compared():
    result = check_equivalence(keras.layers.Dropout(0.5), keras.layers.Dropout(0.5), (64,))
    assert result.equivalent
    assert "output in training" not in set(result.probes.compared)


def test_fresh_weights_would_hide_a_dropped_bias():
    def port(reference, candidate):
        candidate.kernel.assign(reference.kernel)

    dense, unbiased = keras.layers.Dense(3), keras.layers.Dense(3, use_bias=False)
    assert not check_equivalence(dense, unbiased, (4,), port=port).equivalent


def test_both_keep_the_weights_they_came_with():
    slow, fast = FilterLoop(), fused()
    slow.build((None, 32, 6))
    fast.build((None, 32, 6))
    before = [weight.numpy() for weight in slow.weights + fast.weights]
    check_equivalence(slow, fast, (32, 6), port=port_filters)
    for weight, value in zip(slow.weights + fast.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_weights_come_back_after_an_interrupt():
    layer, other = keras.layers.Dense(3), keras.layers.Dense(3)
    layer.build((None, 4))
    before = layer.kernel.numpy()

    def interrupted(reference, candidate):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_equivalence(layer, other, (4,), port=interrupted)
    np.testing.assert_array_equal(layer.kernel.numpy(), before)


def test_the_same_question_has_the_same_answer():
    slow, fast = FilterLoop(), fused(padding="causal")
    slow.build((None, 32, 6))
    fast.build((None, 32, 6))
    first = check_equivalence(slow, fast, (32, 6), port=port_filters)
    second = check_equivalence(slow, fast, (32, 6), port=port_filters)
    assert first.reason == second.reason
    assert first.probes.equals(second.probes)


def test_models_with_several_inputs():
    def model(join):
        first, second = keras.Input((4,)), keras.Input((4,))
        return keras.Model([first, second], join([first, second]))

    shapes = [(4,), (4,)]
    assert check_equivalence(model(keras.layers.Add()), keras.layers.Add(), shapes).equivalent
    assert not check_equivalence(
        model(keras.layers.Add()), keras.layers.Average(), shapes
    ).equivalent


def test_token_ids_come_from_the_samples():
    tokens = np.random.default_rng(0).integers(0, 50, (20, 10))
    same, other = keras.layers.Embedding(50, 4), keras.layers.Embedding(50, 4)
    assert check_equivalence(same, other, (10,), samples=tokens).equivalent

    def port_rolled(reference, candidate):
        candidate.embeddings.assign(np.roll(reference.embeddings.numpy(), 1, axis=0))

    result = check_equivalence(same, other, (10,), port=port_rolled, samples=tokens)
    assert not result.equivalent


def test_samples_can_show_what_no_generated_input_does():
    def only_at_seven(x):
        return ops.where(x == 7.0, 0.0, x)

    samples = np.full((5, 6, 4), 7.0)
    assert compare(lambda x: x, only_at_seven).equivalent
    result = compare(lambda x: x, only_at_seven, samples=samples)
    assert "on probe 'samples'" in result.reason


def test_outputs_of_other_shape_or_type_are_not_equivalent():
    result = check_equivalence(keras.layers.Conv1D(4, 3), keras.layers.Conv1D(5, 3), (8, 2))
    assert not result.equivalent
    assert result.max_abs_diff == np.inf
    assert "(3, 6, 5)" in result.reason
    assert "(3, 6, 4)" in result.reason
    assert not compare(lambda x: x, lambda x: ops.cast(x, "float16")).equivalent


def dense(units=3, **options):
    return keras.layers.Dense(units, **options)


def failing_port(reference, candidate):
    candidate.kernel.assign(np.zeros((9, 9)))


def backward_port(reference, candidate):
    reference.kernel.assign(candidate.kernel)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((dense(), keras.layers.Dense, (4,)), {}, "candidate is a type; expected an instance"),
        ((dense(), dense(), (None, 4)), {}, "expected the shape of one sample without the batch"),
        ((dense(), dense(), "4"), {}, "expected the shape of one sample"),
        ((dense(), dense(), (0,)), {}, "whole numbers above 0"),
        ((keras.layers.Conv2D(2, 3), dense(), (4,)), {}, "reference conv2d.* rejects a batch of 3"),
        ((dense(), dense(use_bias=False), (4,)), {}, r"\[\(4, 3\), \(3,\)\] and candidate .*port="),
        ((dense(), dense(), (4,)), {"port": failing_port}, "port failed: ValueError"),
        ((dense(), dense(), (4,)), {"port": backward_port}, "port changed the reference's"),
        ((dense(), dense(), (4,)), {"samples": np.zeros((2, 5))}, r"expected \(n, 4\) with n > 0"),
        ((dense(), dense(), (4,)), {"samples": np.zeros((0, 4))}, "with n > 0"),
        ((dense(), dense(), (4,)), {"samples": np.full((2, 4), np.nan)}, "hold NaN or Inf"),
        (
            (Function(lambda x: x + keras.random.normal(x.shape)), Function(lambda x: x), (4,)),
            {},
            "reference .* is random at inference",
        ),
        (
            (Function(lambda x: x), Function(lambda x: keras.random.dropout(x, 0.5)), (64,)),
            {},
            "candidate .* is random at inference",
        ),
        (
            (keras.layers.Embedding(5, 2), keras.layers.Embedding(5, 2), (4,)),
            {},
            "whole numbers; give some of your own as samples",
        ),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(arguments, options, message):
    with pytest.raises(EquivalenceError, match=message) as error:
        check_equivalence(*arguments, **options)
    assert "\n" not in str(error.value)


def test_it_prints_itself():
    result = compare(lambda x: x, lambda x: 2 * x)
    assert str(result).startswith("NOT equivalent: on probe 'random' the output is off by")
    assert "constant along axis 1" in repr(result)
    assert "<b>Not equivalent</b>" in result._repr_html_()
    assert "<table" in result._repr_html_()
