"""What rewriting would merge, told without doing it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.errors import RewriteError
from leankeras.rewriting import forecast
from tests.layers.convolutions import FilterLoop


def test_a_loop_over_filters_would_become_a_few_operations_and_the_layer_stays_as_it_was():
    layer = FilterLoop(filters=5)
    layer.build((None, 32, 6))
    weights = layer.get_weights()
    seen = forecast(layer, (32, 6))
    assert len(seen.before) > 2 * len(seen.after)
    assert {path for places in seen.before for path, _ in places} >= {
        FilterLoop.call.__code__.co_filename
    }
    for kept, before in zip(layer.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(kept, before)


def test_where_nothing_is_saved_nothing_changes():
    class Chain(keras.Layer):
        def call(self, x):
            for _ in range(6):
                x = tf.tanh(x)
            return x

    seen = forecast(Chain(), (4,))
    assert seen.before == seen.after


def test_a_layer_that_differs_in_training_is_refused():
    class Dropping(keras.Layer):
        def __init__(self):
            super().__init__()
            self.dropout = keras.layers.Dropout(0.5)

        def call(self, x, training=False):
            return tf.stack([self.dropout(x[:, i], training=training) for i in range(4)], axis=1)

    with pytest.raises(RewriteError, match="behaves differently in training"):
        forecast(Dropping(), (4,))
