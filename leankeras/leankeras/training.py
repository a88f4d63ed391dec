"""One way to fit a classifier, for Keras 3 models and their tf_keras twins alike."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.data import Data
from leankeras.errors import ModelError, one_line
from leankeras.graph import infer, is_graph


def gives_probabilities(model: Any, x: np.ndarray) -> bool:
    """Whether a classifier's outputs are probabilities rather than logits, judged by their values.

    Reading the last layer misses subclassed models and softmax written as an operation; 32 rows
    of logits that all lie in [0, 1] and sum to 1 do not occur.

    Args:
        model: a Keras 3 or tf_keras model with outputs of shape ``(n, classes)``.
        x: some samples, shape ``(n, ...)``.
    """
    outputs = np.asarray(model(x[:32], training=False), dtype="float64")
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1, atol=1e-2))


def first_not_finite(variables: Sequence[keras.Variable]) -> str | None:
    """The path of the first variable that holds NaN or Inf; None if all are finite."""
    for variable in variables:
        values = np.asarray(variable)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            return variable.path
    return None


def check_weights(model: keras.Model) -> None:
    """Refuse a model that has NaN or Inf among its variables.

    Raises:
        ModelError: names the first such variable.
    """
    damaged = first_not_finite(model.variables)
    if damaged:
        raise ModelError(f"{damaged} holds NaN or Inf; retrain {model.name}")


def check_classifier(model: keras.Model, data: Data) -> int:
    """Refuse, before any training, a model that cannot learn these labels from these samples.

    Returns:
        The number of its outputs, one for each class or more.

    Raises:
        ModelError: the model is not built, its weights are not finite, or its input or output
            does not fit the data.
    """
    if not model.built:
        raise ModelError(f"{model.name} is not built; give it an Input or call it first")
    check_weights(model)
    samples = data.x_train.shape[1:]
    if is_graph(model):
        _check_input(model, samples)
    try:
        outputs = infer(model, data.x_train[:1])
    except Exception as error:  # a model may raise anything on samples it was not made for
        raise ModelError(
            f"{model.name} does not take samples of shape {samples}: {one_line(error)}"
        ) from error
    if isinstance(outputs, list | tuple | dict):
        raise ModelError(f"{model.name} has {len(outputs)} outputs; expected one, over classes")
    shape = outputs.shape
    if tuple(shape[1:]) == (1,):
        raise ModelError(
            f"{model.name} has a single output, but the labels have {data.classes} classes; "
            f"expected an output for each, such as Dense({data.classes}, activation='softmax')"
        )
    if len(shape) != 2 or shape[-1] < data.classes:
        raise ModelError(
            f"{model.name} has outputs of shape {shape[1:]} but the labels run to "
            f"{data.classes - 1}; expected ({data.classes},) or more"
        )
    return int(shape[-1])


def _check_input(model: keras.Model, samples: tuple[int, ...]) -> None:
    """Check what a call would let pass: Keras adds and drops a last axis of size 1, and more."""
    if len(model.inputs) != 1:
        raise ModelError(f"{model.name} has {len(model.inputs)} inputs; expected one")
    expected = tuple(model.inputs[0].shape[1:])
    if len(expected) != len(samples) or any(
        size not in (None, given) for size, given in zip(expected, samples, strict=True)
    ):
        raise ModelError(
            f"{model.name} does not take samples of shape {samples}; expected {expected}"
        )


def batches_per_epoch(samples: int, batch_size: int) -> int:
    """The number of whole batches in a pass over the samples; see ``whole_batches``."""
    return max(1, samples // batch_size)


def whole_batches(data: Data, batch_size: int) -> tf.data.Dataset:
    """The training part in batches of one size, reshuffled for each pass.

    The samples left over at the end of a pass, too few for a batch, are dropped: different ones
    each time. If there are fewer samples than a batch holds, they make a single batch, without one
    of them if their number is odd.

    On processors with AMX, the oneDNN of TensorFlow 2.21 corrupts the heap in the gradient of a
    strided 1 × 1 convolution when the number of samples in a batch is odd, as it may be in the
    last batch. With even numbers, 2 to 64, it did not for any of 200 sizes tried.

    Args:
        data: its training part is used.
        batch_size: samples in a batch.

    Returns:
        Pairs of samples ``(batch_size, ...)``, of a known shape, and class indices.
    """
    count = len(data.x_train)
    size = batch_size if count >= batch_size else max(1, count - count % 2)
    x = tf.constant(data.x_train, tf.float32 if data.x_train.dtype == np.float64 else None)
    y = tf.constant(data.y_train)
    order = tf.data.Dataset.range(count).shuffle(count).batch(size, drop_remainder=True)
    return order.map(lambda chosen: (tf.gather(x, chosen), tf.gather(y, chosen)))


def fit(
    model: Any,
    data: Data,
    epochs: int,
    *,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    framework: ModuleType = keras,
    callbacks: Sequence[Any] = (),
) -> Any:
    """Train a classifier in place with Adam and a cosine schedule, and return its history.

    Every batch is whole; see ``whole_batches``.

    Args:
        model: a Keras 3 model, or a tf_keras one with ``framework=tf_keras``.
        data: what to train on; the test part is not used.
        epochs: passes over the training part.
        learning_rate: where the cosine schedule starts; it ends at 0.
        batch_size: samples in a batch; best an even number.
        framework: the module the model comes from, ``keras`` or ``tf_keras``.
        callbacks: callbacks of that framework.
    """
    steps = batches_per_epoch(len(data.x_train), batch_size)
    schedule = framework.optimizers.schedules.CosineDecay(learning_rate, max(1, epochs * steps))
    model.compile(
        framework.optimizers.Adam(schedule),
        framework.losses.SparseCategoricalCrossentropy(
            from_logits=not gives_probabilities(model, data.x_train)
        ),
        metrics=["accuracy"],
    )
    return model.fit(
        whole_batches(data, batch_size),
        epochs=epochs,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
        callbacks=list(callbacks),
    )
