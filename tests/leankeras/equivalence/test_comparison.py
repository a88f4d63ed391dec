import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from leankeras.equivalence import check_equivalence
from leankeras.errors import EquivalenceError
from tests.layers.convolutions import FilterLoop, fused, port_filters


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


def test_a_refusal_leaves_the_weights_too():
    layer, other = keras.layers.Dense(3), keras.layers.Dense(3)
    for each in (layer, other):
        each.build((None, 4))
    before = [weight.numpy() for weight in layer.weights + other.weights]
    for options in ({"port": failing_port}, {"port": backward_port}, {"samples": np.zeros((2, 5))}):
        with pytest.raises(EquivalenceError):
            check_equivalence(layer, other, (4,), **options)
    check_equivalence(layer, keras.layers.Dense(2), (4,))
    check_equivalence(layer, other, (4,), port=lambda *_: None)
    for weight, value in zip(layer.weights + other.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_every_trial_call_is_pinned_to_inference():
    def model():
        inputs = keras.Input((6, 6, 1))
        resized = keras.layers.Resizing(3, 3)(inputs)  # trains by default
        return keras.Model(inputs, keras.layers.BatchNormalization()(resized))

    first, second = model(), model()
    first(np.ones((2, 6, 6, 1)), training=True)
    before = [weight.numpy() for weight in first.weights]
    assert check_equivalence(first, second, (6, 6, 1)).equivalent
    for weight, value in zip(first.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_a_layer_that_cannot_be_traced_is_compared_eagerly():
    def cut(x):
        return x * float(ops.max(ops.abs(x)) >= 0)

    assert compare(cut, lambda x: 2 * x).verdict == "not equivalent"
    assert compare(cut, lambda x: 1 * x).equivalent


def test_a_graph_that_computes_something_else_is_not_relied_on():
    def eager_only(x):
        return x if tf.executing_eagerly() else 2 * x

    assert compare(eager_only, lambda x: 1.0 * x).equivalent
    assert not compare(eager_only, lambda x: 2 * x).equivalent


def test_a_model_of_one_batch_size_is_tried_with_it():
    def model():
        inputs = keras.Input(batch_shape=(1, 4))
        return keras.Model(inputs, keras.layers.Dense(3)(inputs))

    assert check_equivalence(model(), model(), (4,)).equivalent


def test_rounding_in_half_precision_is_not_called_random(monkeypatch):
    class Wavering(keras.Layer):
        """Off by a rounding of 16 bits from call to call, as added by threads in any order."""

        calls = 0

        def call(self, x):
            self.calls += 1
            return x * (1 + 2**-10 * (self.calls % 2))

    half, single = (Wavering(dtype=dtype) for dtype in ("float16", "float32"))
    exact = keras.layers.Activation("linear", dtype="float16")
    assert check_equivalence(half, exact, (6,)).equivalent
    with pytest.raises(EquivalenceError, match="random at inference"):
        check_equivalence(single, Wavering(), (6,))


def test_training_that_is_random_is_said_not_to_be_compared():
    result = check_equivalence(keras.layers.Dropout(0.5), keras.layers.Dropout(0.5), (64,))
    assert result.not_compared == ("training mode, in which the reference is random",)


def test_an_input_that_the_reference_rejects_is_said_not_to_be_compared():
    def inverse(x):
        return tf.linalg.inv(x)

    result = compare(inverse, inverse, (3, 3))
    assert result.equivalent, repr(result)
    assert any("'zeros'" in what for what in result.not_compared)
    assert "zeros" not in set(result.probes.probe)


def test_what_the_reference_takes_the_candidate_has_to_take():
    def roots(x):
        return tf.linalg.inv(x) @ x

    result = compare(lambda x: x @ x - x @ x + np.eye(3, dtype="float32"), roots, (3, 3))
    failed = result.probes[~result.probes.equal]
    assert set(failed.probe) >= {"zeros", "ones"}
    assert np.isinf(failed.max_abs_diff.max())


def test_inputs_as_arguments_of_their_own():
    class Scaled(keras.Layer):
        def call(self, x, scale):
            return x * scale

    class Swapped(keras.Layer):
        def call(self, scale, x):
            return x * scale - scale + x

    def model():
        x, scale = keras.Input((3,)), keras.Input((3,))
        return keras.Model([x, scale], x * scale)

    for shapes in ([(3,), (3,)], {"x": (3,), "scale": (3,)}):
        assert check_equivalence(Scaled(), Scaled(), shapes).equivalent
        assert not check_equivalence(Scaled(), Swapped(), shapes).equivalent
    assert check_equivalence(model(), Scaled(), [(3,), (3,)]).equivalent


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
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(arguments, options, message):
    with pytest.raises(EquivalenceError, match=message) as error:
        check_equivalence(*arguments, **options)
    assert "\n" not in str(error.value)
