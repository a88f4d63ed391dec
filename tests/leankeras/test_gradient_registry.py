"""What TensorFlow has traced is freed with its last user, and gradients stay the same."""

import gc
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from leankeras import to_tf_keras
from leankeras.training import fit


def silu_twice() -> tf.types.experimental.PolymorphicFunction:
    """A function with a gradient of its own in it, and in another one that it calls."""
    inner = tf.function(tf.nn.silu)
    return tf.function(lambda x: inner(tf.nn.silu(x)), input_signature=[tf.TensorSpec((3,))])


def test_a_graph_with_a_custom_gradient_is_freed_with_its_function():
    function = silu_twice()
    graph = weakref.ref(function.get_concrete_function().graph)
    assert graph() is not None
    del function
    gc.collect()
    assert graph() is None


def test_a_custom_gradient_is_found_while_its_graph_lives(tmp_path):
    def gradient(function):
        x = tf.constant([-1.0, 0.5, 2.0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = function(x)
        return tape.gradient(result, x)

    holder = tf.Module()
    holder.function = silu_twice()
    holder.function.get_concrete_function()
    gc.collect()
    tf.saved_model.save(holder, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    gc.collect()
    expected = gradient(lambda x: tf.nn.silu(tf.nn.silu(x)))
    np.testing.assert_allclose(gradient(holder.function), expected, rtol=1e-6)
    np.testing.assert_allclose(gradient(loaded.function), expected, rtol=1e-6)


def graphs() -> int:
    gc.collect()
    return sum(isinstance(thing, tf.__internal__.FuncGraph) for thing in gc.get_objects())


@pytest.mark.parametrize("framework", [keras, tf_keras])
def test_a_model_that_was_trained_leaves_no_graph_behind(framework, small_model, blobs):
    def train():
        model = keras.models.clone_model(small_model)
        fit(model if framework is keras else to_tf_keras(model), blobs, 1, framework=framework)

    train()  # traces what all later trainings reuse
    before = graphs()
    train()
    assert graphs() == before


def test_tensorflow_may_have_been_imported_before():
    code = (
        "import tensorflow, leankeras; from tensorflow.python.framework import ops;"
        "print(type(ops.gradient_registry).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "GradientRegistry\n"
