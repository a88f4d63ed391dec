"""The new layer trains what the old one trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.errors import RewriteError
from leankeras.rewriting.building import Graph
from leankeras.rewriting.node import DATA, WEIGHT
from leankeras.rewriting.weights import choose_weights, is_rearrangement
from tests.layers.routing import SoftForest
from tests.layers.sequences import CircularShift
from tests.leankeras.rewriting.trying import rewritten


@pytest.fixture
def variables():
    return [keras.Variable(np.zeros((3, 2), "float32")) for _ in range(2)]


@pytest.fixture
def g():
    return Graph(5)


@pytest.fixture
def parts(g, variables):
    x = g.leaf("input", np.random.default_rng(0).normal(size=(5, 3)).astype("float32"), DATA)
    weights = [
        g.leaf("weight", np.full((3, 2), i + np.arange(2), "float32"), WEIGHT, index=i)
        for i in range(2)
    ]
    return x, *weights


def test_weights_side_by_side_are_one_weight(g, parts, variables):
    x, one, other = parts
    wide = g.concatenate([one, other], 1)
    (chosen,) = choose_weights([g.product(x, wide, "bi", "ij", "bj")], variables).values()
    assert chosen.node is wide
    assert chosen.trainable


def test_a_weight_in_two_layouts_stays_one_weight(g, parts, variables):
    x, one, other = parts
    wide = g.product(x, g.concatenate([one, other], 1), "bi", "ij", "bj")
    again = g.product(wide, g.concatenate([other, one], 1), "bj", "ij", "bi")
    chosen = [weight.node for weight in choose_weights([again], variables).values()]
    assert chosen == [one, other]
    assert not is_rearrangement([g.concatenate([one, other], 1), g.transpose(one, (1, 0))],
                                variables)  # fmt: skip


def test_what_is_computed_of_weights_is_computed_in_the_call(g, parts, variables):
    x, one, other = parts
    stacked = g.stack([one, other], 0)
    shares = g.make("softmax", stacked, axis=2)
    out = g.product(x, shares, "bi", "nij", "bnj")
    assert [w.node for w in choose_weights([out], variables).values()] == [stacked]
    folded = choose_weights([out], variables, for_inference=True)
    assert [w.node for w in folded.values()] == [shares]


def test_weights_that_are_trained_are_not_joined_with_others(g, parts, variables):
    x, one, other = parts
    variables[1].trainable = False
    out = g.product(x, g.concatenate([one, other], 1), "bi", "ij", "bj")
    chosen = choose_weights([out], variables)
    assert [w.trainable for w in chosen.values()] == [True, False]


@pytest.mark.parametrize(("make", "shape"), [(SoftForest, (10,)), (CircularShift, (16, 4))])
def test_a_step_of_training_is_the_same_step(make, shape):
    keras.utils.set_random_seed(0)
    layer = make()
    found = rewritten(layer, shape)
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype("float32")
    for each in (layer, found.layer):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(each(x) ** 2)
        gradients = tape.gradient(loss, [w.value for w in each.trainable_weights])
        for weight, gradient in zip(each.trainable_weights, gradients, strict=True):
            weight.assign_sub(0.1 * tf.convert_to_tensor(gradient))
    np.testing.assert_allclose(layer(x), found.layer(x), atol=1e-4)


class Normalized(keras.Layer):
    """A statistic that moves in training, and dropout."""

    def __init__(self, units=4):
        super().__init__()
        self.norm = keras.layers.BatchNormalization()
        self.dropout = keras.layers.Dropout(0.5)
        self.units = units

    def build(self, shape):
        self.norm.build(shape)
        self.kernels = [
            self.add_weight(name=f"kernel_{i}", shape=(shape[-1], 1)) for i in range(self.units)
        ]

    def call(self, x, training=False):
        x = self.dropout(self.norm(x, training=training), training=training)
        return tf.concat([x @ kernel for kernel in self.kernels], axis=-1)


def test_a_layer_that_trains_otherwise_is_rewritten_for_inference_only():
    layer = Normalized()
    with pytest.raises(RewriteError, match=r"differently in training.*for_inference=True"):
        rewritten(layer, (6,))
    found = rewritten(layer, (6,), for_inference=True)
    assert found.equivalence.equivalent
    assert found.for_inference
    assert "inference" in str(found)
