"""What rewriting would merge, told without doing it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.errors import RewriteError
from leankeras.rewriting import drafts, forecast
from tests.layers.convolutions import FilterLoop
from tests.layers.public import PUBLIC
from tests.leankeras.rewriting.trying import rewritten


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
            parts = [self.dropout(x[:, i], training=training) for i in range(4)]
            return tf.stack([tf.tanh(part) for part in parts], axis=1)

    with pytest.raises(RewriteError, match="behaves differently in training"):
        forecast(Dropping(), (4,))


def chosen(*parts):
    """Some of the layers from public code, by a part of their names; all are in a benchmark."""
    return [
        pytest.param(layer, id=part) for part in parts for layer in PUBLIC if part in layer.source
    ]


@pytest.mark.parametrize(
    "public",
    chosen("CapsuleLayer", "YOLO", "BilinearInteraction", "AnchorBoxes", "CrossNet", "NALU",
           "Involution", "TabNet", "FilterDetections", "RBFLayer", "LMUCell"),
)  # fmt: skip
def test_what_is_promised_is_delivered_and_nothing_else(public, monkeypatch):
    monkeypatch.setattr(drafts, "LAYOUTS", drafts.LAYOUTS[:1])
    keras.utils.set_random_seed(0)
    promised, reason = False, "nothing to gain"
    try:
        seen = forecast(public.make(), public.shape)
        promised = seen.after != seen.before
    except RewriteError as error:
        reason = str(error)[-60:]
    if promised:
        assert rewritten(public.make(), public.shape).equivalence.equivalent
    else:
        with pytest.raises(RewriteError) as refused:
            rewritten(public.make(), public.shape)
        assert reason in str(refused.value)
