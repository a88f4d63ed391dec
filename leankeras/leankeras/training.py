"""One way to fit a classifier, for Keras 3 models and their tf_keras twins alike."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np

from leankeras.data import Data
from leankeras.errors import ModelError, one_line


def gives_probabilities(model: Any, x: np.ndarray) -> bool:
    """Whether a classifier's outputs are probabilities rather than logits, found by looking.

    Reading the last layer misses subclassed models and softmax written as an operation; 32 rows
    of logits that all lie in [0, 1] and sum to 1 do not occur.

    Args:
        model: a Keras 3 or tf_keras model with outputs of shape ``(n, classes)``.
        x: some samples, shape ``(n, ...)``.
    """
    outputs = np.asarray(model(x[:32], training=False), dtype="float64")
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3))


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
        ModelError: naming the first such variable.
    """
    damaged = first_not_finite(model.variables)
    if damaged:
        raise ModelError(f"{damaged} holds NaN or Inf; train {model.name} anew")


def check_classifier(model: keras.Model, data: Data) -> None:
    """Refuse, before any training, a model that cannot learn these labels from these samples.

    Raises:
        ModelError: the model is unbuilt, its weights are not finite, its input or output does
            not fit the data.
    """
    if not model.built:
        raise ModelError(f"{model.name} is not built; give it an Input or call it first")
    check_weights(model)
    try:
        model.compute_output_shape((1, *data.x_train.shape[1:]))  # minds what a call lets pass
        outputs = model(data.x_train[:1], training=False)
    except Exception as error:  # whatever a model does with what it was not made for
        raise ModelError(
            f"{model.name} does not take samples of shape {data.x_train.shape[1:]}: "
            f"{one_line(error)}"
        ) from error
    if isinstance(outputs, list | tuple | dict):
        raise ModelError(f"{model.name} has {len(outputs)} outputs; expected one, of classes")
    shape = outputs.shape
    if tuple(shape[1:]) == (1,):
        raise ModelError(
            f"{model.name} has a single output, and the labels are {data.classes} classes; "
            f"expected an output for each, such as Dense({data.classes}, activation='softmax')"
        )
    if len(shape) != 2 or shape[-1] < data.classes:
        raise ModelError(
            f"{model.name} has outputs of shape {shape[1:]} but the labels run to "
            f"{data.classes - 1}; expected ({data.classes},) or more"
        )


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

    Args:
        model: a Keras 3 model, or a tf_keras one with ``framework=tf_keras``.
        data: what to train on; the test part is not looked at.
        epochs: passes over the training part.
        learning_rate: where the cosine schedule starts; it ends at 0.
        framework: the module the model is made of, ``keras`` or ``tf_keras``.
        callbacks: callbacks of that framework.
    """
    steps = max(1, epochs * -(-len(data.x_train) // batch_size))
    model.compile(
        framework.optimizers.Adam(framework.optimizers.schedules.CosineDecay(learning_rate, steps)),
        framework.losses.SparseCategoricalCrossentropy(
            from_logits=not gives_probabilities(model, data.x_train)
        ),
        metrics=["accuracy"],
    )
    return model.fit(
        data.x_train,
        data.y_train,
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
        callbacks=list(callbacks),
    )
