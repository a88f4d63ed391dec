from dataclasses import replace

import keras
import numpy as np

from leankeras.task import Task
from leankeras.training import fit


def half_squared(labels, outputs):
    return keras.ops.mean(keras.ops.square(keras.ops.cast(labels, outputs.dtype) - outputs)) / 2


def test_a_model_trained_with_a_loss_of_ones_own_can_be_cloned(small_model, blobs):
    ends = keras.layers.Dense(1, activation="sigmoid")(small_model.output)
    model = keras.Model(small_model.input, ends)
    task = replace(Task.binary_classification(), loss=half_squared)
    fit(model, replace(blobs, task=task), 1)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(blobs.x_val), model(blobs.x_val))
