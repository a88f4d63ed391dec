import keras
import numpy as np
import pytest

from leankeras.budget import Budget
from leankeras.channels import plan_removal
from leankeras.conversion import convert
from leankeras.errors import ParameterError
from leankeras.runtime import predict
from leankeras.searching import Candidate
from leankeras.searching.chain import compress, full_training, short_training, shrink, untrained
from leankeras.searching.cost import best_fit, costs_of
from leankeras.searching.empty import check_reachable

SHARES = {"conv": 0.6, "conv2": 0.4}


def shapes(model):
    return [weight.shape for weight in model.weights]


@pytest.mark.parametrize(("steps", "round_to"), [(2, 1), (3, 4)])
def test_however_many_steps_the_architecture_is_that_of_one_removal(materials, steps, round_to):
    once = plan_removal(materials.model, SHARES, round_to=round_to).apply()
    chain = Candidate(SHARES, round_to, steps, prune_epochs=1)
    assert shapes(shrink(materials.model, materials.data, chain, 0)) == shapes(once)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_model_alone(materials):
    before = [weight.copy() for weight in materials.model.get_weights()]
    first, second = (
        shrink(materials.model, materials.data, Candidate(SHARES), seed=3) for _ in range(2)
    )
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for old, new in zip(before, materials.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert shrink(materials.model, materials.data, Candidate(), 0) is materials.model


@pytest.mark.parametrize(
    "chain",
    [
        Candidate(SHARES, distil_epochs=1, temperature=2.0, qat_epochs=1),
        Candidate(keep_float=("logits",)),
    ],
)
def test_the_untrained_file_has_the_operators_of_the_trained_one(materials, chain, tmp_path):
    figures = untrained(materials, chain, tmp_path / "untrained.tflite")
    scores = full_training(materials, chain, tmp_path / "trained.tflite")
    assert figures["costs"] == pytest.approx(costs_of(tmp_path / "trained.tflite"), rel=0.05)
    assert figures["size_kb"] == pytest.approx(scores["size_kb"], rel=0.1)
    assert scores["lost_low"] <= scores["lost"] <= scores["lost_high"]


def test_a_chain_gives_the_same_file_again(materials, tmp_path):
    chain = Candidate(SHARES, distil_epochs=1, mode="float32")
    files = [compress(materials, chain, tmp_path / f"{name}.tflite").path for name in "ab"]
    x = materials.data.x_val
    np.testing.assert_array_equal(predict(files[0], x), predict(files[1], x))


def test_an_untouched_model_is_only_converted(materials, tmp_path):
    made = compress(materials, Candidate(mode="float32"), tmp_path / "same.tflite").path
    x = materials.data.x_val
    np.testing.assert_allclose(predict(made, x), predict(materials.model, x), atol=1e-4)


def test_a_short_training_removes_the_channels_and_says_what_is_lost(materials, tmp_path):
    figures = short_training(materials, Candidate(SHARES, prune_epochs=4), tmp_path / "none")
    assert -1 <= figures["short_lost"] <= 1
    assert not (tmp_path / "none").exists()


def test_the_estimate_orders_widths_in_each_mode(materials, tmp_path):
    small = plan_removal(materials.model, 0.5).apply()
    calibration = materials.data.calibration()
    cost = {
        (name, mode): costs_of(
            convert(model, tmp_path / f"{name}-{mode}.tflite", mode, calibration).path
        )
        for name, model in (("wide", materials.teacher), ("small", small))
        for mode in ("float32", "int8")
    }
    for mode in ("float32", "int8"):
        pairs = zip(cost["small", mode], cost["wide", mode], strict=True)
        assert all(small <= wide for small, wide in pairs)
        assert cost["small", mode][1] < cost["wide", mode][1]
    assert len(set(cost["wide", "float32"])) == 1
    assert len(set(cost["wide", "int8"])) == 3


def test_the_estimate_that_agrees_with_the_measurements_is_taken():
    costs = [[10.0, 20.0, 30.0], [11.0, 5.0, 60.0], [30.0, 6.0, 10.0]]
    for position in range(3):
        us = [0.01 * row[position] * noise for row, noise in zip(costs, (1, 1.1, 0.9), strict=True)]
        assert best_fit(costs, us) == position


def test_limits_below_those_of_an_empty_model_are_refused(materials):
    for budget, told in (
        (Budget(latency_us=1e-3), "saw 0.001 µs; a file that only passes these inputs on takes"),
        (Budget(size_kb=0.1), "saw 0.1 kB; a file that only"),
    ):
        with pytest.raises(ParameterError, match="no model can keep that") as error:
            check_reachable(materials.model, materials.data, budget)
        assert told in str(error.value)
    check_reachable(materials.model, materials.data, Budget(latency_us=1e4, size_kb=100))
    pair = keras.Input((3,), name="a"), keras.Input((2, 2), name="b")
    joined = keras.layers.Concatenate()([pair[0], keras.layers.Flatten()(pair[1])])
    model = keras.Model(dict(zip("ab", pair, strict=True)), keras.layers.Dense(2)(joined))
    random = np.random.default_rng(0)
    x = {"a": random.normal(size=(20, 3)), "b": random.normal(size=(20, 2, 2))}
    x = {name: array.astype(np.float32) for name, array in x.items()}
    data = type(materials.data)(x, np.arange(20) % 2, x, np.arange(20) % 2)
    check_reachable(model, data, Budget(latency_us=1e4))
