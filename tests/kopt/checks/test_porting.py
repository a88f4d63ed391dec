"""The port exercise on the layers of the built-in cases, with real weights on both sides."""

import keras
import numpy as np
import pytest

from kopt import checks
from kopt.cases.catalogue import BUILT_IN, find_case
from kopt.checks.check import NO_QUESTION, NOT_ANSWERED, NOT_YET


def slow_layers(name):
    keras.utils.set_random_seed(0)
    case = find_case(name)
    model = case.build()
    return case, [layer for layer in model.layers if isinstance(layer, case.slow_layer)]


@pytest.fixture(scope="module")
def signal():
    case, layers = slow_layers("signal")
    return layers, case.rewrites


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_cases_own_port_passes_and_the_layer_is_left_as_it_was(name):
    case, layers = slow_layers(name)
    before = layers[0].get_weights()
    check = checks.port(case.rewrites[-1].port, layers, case.rewrites)
    assert check.passed, check
    for kept, weight in zip(before, layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)


def unwritten(old, new): ...


def of_wrong_shape(old, new):
    new.set_weights(old.get_weights())


def without_bias(old, new):
    kernel, bias = old.get_weights()
    new.set_weights([kernel[:, None], 0 * bias])


def backwards(old, new):
    kernel, bias = new.get_weights()
    old.set_weights([kernel[:, 0], bias])


def time_reversed(old, new):
    kernel, bias = old.get_weights()
    new.set_weights([kernel[::-1, None], bias])


def misspelt(old, new):
    new.set_weight(old.get_weights())


@pytest.mark.parametrize(
    ("answer", "state", "hint"),
    [
        (..., NOT_ANSWERED, "write the body of port(old, new)"),
        (unwritten, NOT_ANSWERED, "write the body of port(old, new)"),
        (of_wrong_shape, NOT_YET, "new takes (5, 1, 32, 64), (64,)"),
        (without_bias, NOT_YET, "bias of new was never set"),
        (backwards, NOT_YET, "it changes the old layer"),
        (time_reversed, NOT_YET, "the shapes fit, but on probe"),
        (misspelt, NOT_YET, "AttributeError"),
        (lambda old: None, NOT_YET, "TypeError"),
        ("new = old", NOT_YET, "expected a function"),
    ],
)
def test_each_mistake_gets_its_hint_and_harms_nothing(signal, answer, state, hint):
    layers, rewrites = signal
    before = layers[0].get_weights()
    check = checks.port(answer, layers, rewrites)
    assert check.state == state
    assert hint in check.message
    for kept, weight in zip(before, layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)


def test_a_case_without_a_rewrite_is_asked_nothing(signal):
    layers, rewrites = signal
    assert checks.port(..., [], rewrites).state == NO_QUESTION
    assert checks.port(..., layers, ()).state == NO_QUESTION
