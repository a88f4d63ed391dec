"""Keras masks: ignored or passed on as before; what uses them is rewritten for inputs without."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.errors import ModelError, RewriteError
from leankeras.graph import mask_of, with_mask
from leankeras.rewriting.models import rewrite_model
from leankeras.rewriting.program import IGNORED, PASSED_ON, Program
from tests.layers.masks import MASKED_MEAN, StepwiseNetwork
from tests.leankeras.rewriting.trying import first_is_fastest, rewritten, run_source

SHAPE = (6, 4)


@pytest.fixture(scope="module")
def masked():
    x = tf.constant(np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32"))
    return with_mask(x, tf.constant(np.arange(6) < [[4], [6]]))


class Steps(keras.Layer):
    """Takes a mask, as layers for Keras 2 had to, and does nothing with it."""

    def __init__(self, passes_on=False):
        super().__init__()
        self.supports_masking = passes_on

    def call(self, x, mask=None):
        return tf.stack([tf.tanh(x[:, t]) for t in range(x.shape[1])], axis=1)


class OwnMask(Steps):
    def compute_mask(self, inputs, mask=None):
        return None if mask is None else tf.logical_not(mask)


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize(("passes_on", "fate"), [(False, IGNORED), (True, PASSED_ON)])
def test_a_mask_that_changes_nothing_comes_out_as_before(passes_on, fate, masked):
    layer = Steps(passes_on)
    found = rewritten(layer, SHAPE)
    printed, _ = run_source(found.source)
    assert found.layer.masks == fate
    assert not found.without_masks
    for each in (found.layer, Program.from_config(found.layer.get_config()), printed):
        mask, wanted = mask_of(each(masked)), mask_of(layer(masked))
        assert (mask is None) == (wanted is None) == (not passes_on)


@pytest.mark.parametrize("make", [StepwiseNetwork, OwnMask])
def test_what_uses_a_mask_is_rewritten_for_inputs_without_one(make, masked):
    keras.utils.set_random_seed(0)
    layer = make()
    found = rewritten(layer, SHAPE)
    assert found.without_masks
    assert "without a Keras mask" in str(found)
    printed, port = run_source(found.source)
    port(layer, printed)
    bare = tf.identity(masked)
    for each, error in ((found.layer, ModelError), (printed, ValueError)):
        np.testing.assert_allclose(each(bare), layer(bare), atol=1e-6)
        with pytest.raises(error, match="without a Keras mask"):
            each(masked)


def test_where_a_model_has_a_mask_the_layer_stays():
    inputs = keras.Input(SHAPE)
    outputs = StepwiseNetwork()(keras.layers.Masking()(inputs))
    with pytest.raises(RewriteError, match="is given a Keras mask in net, and uses it"):
        rewrite_model(keras.Model(inputs, outputs, name="net"), measure=first_is_fastest)


def test_a_mask_that_is_an_argument_of_its_own_is_an_input():
    found = rewritten(MASKED_MEAN.slow(), MASKED_MEAN.input_shape)
    assert "def call(self, x, mask):" in found.source
    x, mask = MASKED_MEAN.samples(np.random.default_rng(0))
    printed, _ = run_source(found.source)
    wanted = MASKED_MEAN.slow()(x, mask)
    for each in (found.layer, printed):
        np.testing.assert_allclose(each(x, mask), wanted, atol=1e-6)


@keras.saving.register_keras_serializable("tests>masks")
class Ignoring(keras.Layer):
    """Would be a Dense, which passes a mask on, if no input had one."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x):
        return tf.stack([tf.tanh(x[:, t] @ self.kernel) for t in range(x.shape[1])], axis=1)


@keras.saving.register_keras_serializable("tests>masks")
class Averaging(keras.Layer):
    """Would be a GlobalAveragePooling1D, which uses a mask."""

    def call(self, x):
        total = x[:, 0]
        for t in range(1, x.shape[1]):
            total += x[:, t]
        return total / float(x.shape[1])


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize(
    ("make", "stock"), [(Ignoring, "Dense"), (Averaging, "GlobalAveragePooling1D")]
)
def test_a_stock_layer_that_treats_a_mask_otherwise_is_for_inputs_without(make, stock, masked):
    found = rewritten(make(), SHAPE)
    assert found.name == stock
    assert found.without_masks
    assert "does not do what the old one did" in found.summary()

    inputs = keras.Input(SHAPE)
    for embedded in (keras.layers.Masking()(inputs), inputs):
        hidden = make()(embedded)
        outputs = keras.layers.GlobalAveragePooling1D()(hidden) if make is Ignoring else hidden
        model = keras.Model(inputs, outputs)
        fast = rewrite_model(model, measure=first_is_fastest).layer
        kinds = {type(layer).__name__ for layer in fast.layers}
        assert ("Program" in kinds) == (embedded is not inputs)
        x = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
        x[:, 4:] = 0
        np.testing.assert_allclose(fast(x), model(x), atol=1e-6)
