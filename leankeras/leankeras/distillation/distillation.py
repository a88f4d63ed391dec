"""Knowledge distillation: a small student learns from the labels and from a trained teacher.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531), based
on `keras.distillation`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from leankeras.copying import copy_model, is_float32
from leankeras.data import Data
from leankeras.errors import ModelError, one_line
from leankeras.graph import flat_layers
from leankeras.parameters import check_parameters
from leankeras.training import (
    batches_per_epoch,
    check_classifier,
    gives_probabilities,
    whole_batches,
)

BATCH_SIZE = 64


def distill(
    teacher: keras.Model,
    student: keras.Model,
    data: Data,
    temperature: float = 4.0,
    alpha: float = 0.1,
    epochs: int = 3,
    features: Mapping[str, str] | None = None,
    learning_rate: float = 1e-3,
    verbose: int = 1,
) -> keras.Model:
    """Train a copy of the student on the labels and on the teacher's outputs.

    The loss is ``alpha * CE(labels, student) + (1 - alpha) * T² * KL(teacher / T, student / T)``,
    the second part on logits divided by the temperature T; T² keeps its gradients as large as
    those of the first. A model that ends in a softmax is recognised by its outputs, and the
    logarithms of its probabilities are used as its logits. Training uses Adam with a cosine
    schedule and whole batches of 64, in float32, as everywhere in leankeras.

    Args:
        teacher: a trained classifier with outputs of shape ``(n, classes)``, logits or
            probabilities. It is not changed.
        student: the classifier to train, with the same number of outputs. It is not changed.
        data: samples of both models' input shape; the test part is not used.
        temperature: above 0; the higher, the more the teacher's wrong answers count.
        alpha: weight of the labels, from 0 (only the teacher) to 1 (only the labels).
        epochs: passes over the training part.
        features: teacher layer -> student layer whose outputs should agree as well; the mean
            squared error of each pair is added to the teacher's part of the loss. Both layers
            must have outputs of the same shape.
        learning_rate: where the cosine schedule starts.
        verbose: 1 prints a line before and a line after training, 0 prints nothing.

    Returns:
        The trained student, an uncompiled Keras 3 model.

    Raises:
        ParameterError: temperature, alpha or epochs are out of range.
        ModelError: a model is not built, holds NaN or does not fit the data, teacher and student
            differ in their outputs, a feature layer is missing or of another shape, or training
            diverged.

    Example:
        >>> student = leankeras.distill(teacher, student, data, temperature=4.0, alpha=0.1)
    """
    check_parameters({"temperature": temperature, "alpha": alpha, "epochs": epochs})
    features = dict(features or {})
    _check_pair(teacher, student, data)
    _check_features(teacher, student, features)
    student = copy_model(student, data.x_train[:1])
    if not is_float32(teacher):
        teacher = copy_model(teacher, data.x_train[:1])
    logits = SoftenedLogits(
        float(temperature),
        gives_probabilities(teacher, data.x_train),
        gives_probabilities(student, data.x_train),
    )
    if verbose:
        print(_summary(teacher, student, logits, alpha, features))
    with _unchanged_trainability(teacher):
        history = _train(teacher, student, data, logits, alpha, epochs, features, learning_rate)
    if not all(np.isfinite(history["total_loss"])):
        raise ModelError(
            f"training {student.name} diverged: the loss went {history['total_loss']}; "
            f"lower the learning_rate of {learning_rate}"
        )
    if verbose:
        steps = " ".join(f"{value:.3f}" for value in history["total_loss"])
        print(f"loss by epoch: {steps}")
    return student


class SoftenedLogits(keras.distillation.LogitsDistillation):
    """T² times the KL divergence at temperature T, for models that output logits or probabilities.

    Args:
        temperature: the divisor of the logits.
        teacher_probabilities: whether the teacher ends in a softmax.
        student_probabilities: whether the student does.
    """

    def __init__(
        self, temperature: float, teacher_probabilities: bool, student_probabilities: bool
    ) -> None:
        # If given by name, as by default, the loss would be computed on the logits themselves.
        super().__init__(temperature, loss=keras.losses.KLDivergence())
        self.teacher_probabilities = teacher_probabilities
        self.student_probabilities = student_probabilities

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of a batch, a scalar, from outputs of shape ``(n, classes)``."""
        return super().compute_loss(
            _logits(teacher_outputs, self.teacher_probabilities),
            _logits(student_outputs, self.student_probabilities),
            **kwargs,
        )


def _logits(outputs: Any, probabilities: bool) -> Any:
    if not probabilities:
        return outputs
    return keras.ops.log(keras.ops.maximum(outputs, keras.config.epsilon()))


def _check_pair(teacher: keras.Model, student: keras.Model, data: Data) -> None:
    widths = [check_classifier(model, data) for model in (teacher, student)]
    if widths[0] != widths[1]:
        raise ModelError(
            f"the teacher {teacher.name} has {widths[0]} outputs and the student {student.name} "
            f"{widths[1]}; both must have the same classes"
        )


def _check_features(
    teacher: keras.Model, student: keras.Model, features: Mapping[str, str]
) -> None:
    for names in features.items():
        shapes = []
        for model, name in zip((teacher, student), names, strict=True):
            known = [layer.name for layer in model.layers]
            if name not in known:
                raise ModelError(
                    f"{model.name} has no layer {name!r} to take features from; expected one of "
                    f"{', '.join(known)}"
                )
            shapes.append(model.get_layer(name).output.shape)
        if shapes[0] != shapes[1]:
            raise ModelError(
                f"features of {names[0]} have shape {shapes[0][1:]} and of {names[1]} "
                f"{shapes[1][1:]}; pair layers with outputs of the same shape"
            )


@contextmanager
def _unchanged_trainability(model: keras.Model) -> Iterator[None]:
    """Restore the ``trainable`` of every layer after the Distiller has frozen some."""
    before = [(layer, layer.trainable) for layer in flat_layers(model)]
    try:
        yield
    finally:
        for layer, trainable in before:
            layer.trainable = trainable


def _train(
    teacher: keras.Model,
    student: keras.Model,
    data: Data,
    logits: SoftenedLogits,
    alpha: float,
    epochs: int,
    features: Mapping[str, str],
    learning_rate: float,
) -> dict[str, list[float]]:
    pairs = [
        keras.distillation.FeatureDistillation("mse", teacher_layer, student_layer)
        for teacher_layer, student_layer in features.items()
    ]
    try:
        distiller = keras.distillation.Distiller(
            teacher, student, [logits, *pairs], student_loss_weight=float(alpha)
        )
    except ValueError as error:
        raise ModelError(
            f"{student.name} cannot learn from {teacher.name}: {one_line(error)}"
        ) from error
    steps = batches_per_epoch(len(data.x_train), BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)
    distiller.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=not logits.student_probabilities),
    )
    fitted = distiller.fit(
        whole_batches(data, BATCH_SIZE),
        epochs=epochs,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
    )
    return fitted.history


def _summary(
    teacher: keras.Model,
    student: keras.Model,
    logits: SoftenedLogits,
    alpha: float,
    features: Mapping[str, str],
) -> str:
    def described(model: keras.Model, probabilities: bool) -> str:
        outputs = "probabilities" if probabilities else "logits"
        return f"{model.name} ({model.count_params():,} weights, gives {outputs})"

    pairs = "".join(f", features {one} -> {other}" for one, other in features.items())
    return (
        f"distilling {described(teacher, logits.teacher_probabilities)} into "
        f"{described(student, logits.student_probabilities)}: {alpha:g} of the loss from the "
        f"labels, {1 - alpha:g} from the teacher at temperature {logits.temperature:g}{pairs}"
    )
