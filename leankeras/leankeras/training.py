"""One way to fit a model, for Keras 3 models and their tf_keras twins alike."""

import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.arrays import count_samples, each_array, first
from leankeras.copying import copy_model
from leankeras.data import Data
from leankeras.objective import Objective, find_objective
from leankeras.rows import Rows
from leankeras.training_progress import told

TIMED_BATCHES = 3


def batches_per_epoch(samples: int, batch_size: int) -> int:
    """The number of whole batches in a pass over the samples; see ``whole_batches``."""
    return max(1, samples // batch_size)


def whole_batches(x: Any, targets: Any, batch_size: int) -> tf.data.Dataset:
    """Samples and targets in batches of one size, shuffled anew for each pass.

    What a pass leaves over, which would make a smaller batch, is left out of it: other samples
    each time. If there are fewer samples than a batch has, they make up one batch, less one sample
    if their number is odd.

    On processors with AMX, the oneDNN of TensorFlow 2.21 corrupts the heap in the gradient of a
    strided 1 × 1 convolution when the number of samples in a batch is odd, as it may be in the
    last batch. With even numbers, 2 to 64, it did not for any of 200 sizes tried.

    Args:
        x: samples, arrays ``(n, ...)`` in any structure.
        targets: likewise.
        batch_size: samples in a batch.

    Returns:
        Pairs of samples and targets, ``(batch_size, ...)``, with shapes that are known.
    """
    count = count_samples(x)
    size = batch_size if count >= batch_size else max(1, count - count % 2)
    columns = tf.nest.map_structure(_column, (x, _tuples(targets)))
    order = tf.data.Dataset.range(count).shuffle(count).batch(size, drop_remainder=True)
    batches = order.map(
        lambda chosen: tf.nest.map_structure(lambda column: column(chosen), columns)
    )
    return batches.prefetch(1)  # the next is read from its file meanwhile


def _column(array: np.ndarray | Rows) -> Callable[[tf.Tensor], tf.Tensor]:
    """What gives the rows of a batch, in float32 for float64."""
    dtype = tf.as_dtype(np.float32 if array.dtype == np.float64 else array.dtype)
    if not isinstance(array, Rows):
        constant = tf.constant(array, dtype)
        return lambda chosen: tf.gather(constant, chosen)

    def read(chosen: np.ndarray) -> np.ndarray:
        return array[chosen].astype(dtype.as_numpy_dtype, copy=False)

    def rows(chosen: tf.Tensor) -> tf.Tensor:
        batch = tf.numpy_function(read, [chosen], dtype)
        return tf.ensure_shape(batch, (*chosen.shape, *array.shape[1:]))

    return rows


def _tuples(nested: Any) -> Any:
    """Tuples for lists, which a dataset would take for the rows of one tensor."""
    return tuple(nested) if isinstance(nested, list) else nested


def fit(
    model: Any,
    data: Data,
    epochs: int,
    *,
    objective: Objective | None = None,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    framework: ModuleType = keras,
    callbacks: Sequence[Any] = (),
) -> Any:
    """Train a model in place with Adam and a cosine schedule, and return its history.

    Every batch is whole; see ``whole_batches``.

    Args:
        model: a Keras 3 model, or a tf_keras one with ``framework=tf_keras`` and an objective.
        data: what to train on; the test part is not looked at.
        epochs: passes over the training part.
        objective: that of the Keras 3 model which a tf_keras one comes from; by default the
            model's own.
        learning_rate: where the cosine schedule starts; it ends at 0.
        batch_size: samples in a batch; best an even number.
        framework: the module the model comes from, ``keras`` or ``tf_keras``.
        callbacks: callbacks of that framework.
    """
    objective = objective or find_objective(model, data)
    targets = objective.targets(data.labels("train"))
    steps = batches_per_epoch(count_samples(data.x_train), batch_size)
    schedule = framework.optimizers.schedules.CosineDecay(learning_rate, max(1, epochs * steps))
    model.compile(
        framework.optimizers.Adam(schedule), _tuples(objective.losses(framework, targets))
    )
    return model.fit(
        whole_batches(data.x_train, targets, batch_size),
        epochs=epochs,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
        callbacks=[*callbacks, *told(framework, epochs, steps)],
    )


def seconds_per_pass(model: keras.Model, data: Data, batch_size: int = 64) -> float:
    """About how long :func:`fit` takes for a pass over the training part, from timed batches.

    Args:
        model: a built Keras 3 model; a copy of it is trained, so it is left as it is.
        data: what it is to be trained on.
        batch_size: samples in a batch.
    """
    objective = find_objective(model, data)
    x = each_array(data.x_train, lambda array: array[:batch_size])
    labels = each_array(data.labels("train"), lambda array: array[:batch_size])
    targets = objective.targets(labels)
    trained = copy_model(model, first(data.x_train))
    trained.compile(keras.optimizers.Adam(), _tuples(objective.losses(keras, targets)))
    batch = next(iter(whole_batches(x, targets, batch_size)))
    seconds = []
    for _ in range(1 + TIMED_BATCHES):
        started = time.monotonic()
        trained.train_on_batch(*batch)
        seconds.append(time.monotonic() - started)
    # the first one is traced
    return batches_per_epoch(count_samples(data.x_train), batch_size) * min(seconds[1:])
