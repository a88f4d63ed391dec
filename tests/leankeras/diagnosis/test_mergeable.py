"""A finding about a loop says whether rewrite can merge it."""

import keras
import tensorflow as tf

from leankeras.diagnosis.diagnosis import diagnose


@keras.saving.register_keras_serializable("tests>mergeable")
class HeadsThenChain(keras.Layer):
    """A loop over heads that can be merged, and a chain of steps that cannot."""

    def build(self, shape):
        self.heads = [self.add_weight(shape=(shape[-1], 3), name=f"head_{i}") for i in range(6)]
        self.step = self.add_weight(shape=(18, 18), name="step")

    def call(self, x):
        heads = []
        for head in self.heads:
            heads.append(tf.nn.relu(tf.matmul(x, head)))
        state = tf.concat(heads, axis=-1)
        for _ in range(6):
            state = tf.tanh(tf.matmul(state, self.step))
        return state


@keras.saving.register_keras_serializable("tests>mergeable")
class NoisyHeads(HeadsThenChain):
    """The same with dropout in its training."""

    def call(self, x, training=False):
        heads = []
        for head in self.heads:
            product = tf.matmul(x, head)
            heads.append(tf.nn.dropout(product, 0.5) if training else product)
        return tf.concat(heads, axis=-1)


def fixes(target, *arguments):
    return {one.rule: one.fix for one in diagnose(target, *arguments).findings}


def test_each_loop_of_a_layer_is_judged_by_itself():
    found = fixes(HeadsThenChain(), (5,))
    assert found["loop-over-branches"].startswith("leankeras.rewrite can merge it: the layer's ")
    assert "By hand: use one projection" in found["loop-over-branches"]
    assert found["recurrence"].endswith(
        "leankeras.rewrite cannot merge it: nothing in it can be done at once."
    )


def test_in_a_model_too():
    inputs = keras.Input((5,))
    found = fixes(keras.Model(inputs, HeadsThenChain()(inputs)))
    assert "leankeras.rewrite can merge it" in found["loop-over-branches"]


def test_a_layer_that_is_refused_says_why():
    found = fixes(NoisyHeads(), (5,))
    assert "leankeras.rewrite leaves it as it is: " in found["loop-over-branches"]
    assert "behaves differently in training" in found["loop-over-branches"]
