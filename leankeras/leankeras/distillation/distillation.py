"""Knowledge distillation: a small student learns from the labels and from a trained teacher.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531), based
on `keras.distillation`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from leankeras.arrays import count_samples, first
from leankeras.copying import copy_model, is_float32
from leankeras.data import Data
from leankeras.errors import ModelError, one_line
from leankeras.graph import flat_layers, is_graph
from leankeras.objective import Objective, find_objective
from leankeras.parameters import check_parameters
from leankeras.task import Quantities
from leankeras.training import batches_per_epoch, whole_batches
from leankeras.training_progress import told

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
    those of the first. A model that ends in a softmax or a sigmoid is recognised by its outputs,
    and its logits are computed from its probabilities. A choice for every step or pixel is taught
    in the same way, averaged over them; numbers are taught by the squared error between teacher and
    student. Training uses Adam with a cosine schedule
    and whole batches of 64, in float32, as in all of leankeras.

    Args:
        teacher: a trained model. It is left exactly as it was.
        student: the model to train, with outputs of the same shapes. It is not changed.
        data: samples of both models' input shape; the test part is not looked at.
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
    objectives = _check_pair(teacher, student, data)
    _check_features(teacher, student, features)
    student = copy_model(student, first(data.x_train))
    if not is_float32(teacher):
        teacher = copy_model(teacher, first(data.x_train))
    taught = TaughtOutputs(*objectives, float(temperature))
    if verbose:
        print(_summary(teacher, student, taught, alpha, features))
    with _unchanged_trainability(teacher):
        history = _train(teacher, student, data, taught, alpha, epochs, features, learning_rate)
    if not all(np.isfinite(history["total_loss"])):
        raise ModelError(
            f"training {student.name} diverged: the loss went {history['total_loss']}; "
            f"lower the learning_rate of {learning_rate}"
        )
    if verbose:
        steps = " ".join(f"{value:.3f}" for value in history["total_loss"])
        print(f"loss by epoch: {steps}")
    return student


class TaughtOutputs(keras.distillation.DistillationLoss):
    """How far a student's outputs are from its teacher's, over all outputs.

    For classes, T² times the KL divergence at temperature T; for numbers, the mean squared error.

    Args:
        teacher: the teacher's objective.
        student: the student's.
        temperature: what logits are divided by.
    """

    def __init__(self, teacher: Objective, student: Objective, temperature: float) -> None:
        self.teacher, self.student = teacher, student
        # Given by its name, as it is by default, the loss would be taken of the logits themselves.
        self.softened = keras.distillation.LogitsDistillation(
            temperature, loss=keras.losses.KLDivergence()
        )

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The loss of a batch, a scalar, from outputs nested as the models give them."""
        taught, learnt = (
            self.teacher.answers(teacher_outputs),
            self.student.answers(student_outputs),
        )
        losses = [
            keras.ops.mean(keras.ops.square(taught[name] - learnt[name]))
            if isinstance(task.law, Quantities)
            else self.softened.compute_loss(taught[name], learnt[name], **kwargs)
            for name, task in self.student.tasks.items()
        ]
        return sum(losses)


def _check_pair(teacher: keras.Model, student: keras.Model, data: Data) -> list[Objective]:
    both = [find_objective(model, data) for model in (teacher, student)]
    shapes = [each.shapes for each in both]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"the teacher {teacher.name} has outputs of shape {_in_words(shapes[0])} and the "
            f"student {student.name} {_in_words(shapes[1])}; both must have the same"
        )
    return both


def _in_words(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes.values()))


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
    taught: TaughtOutputs,
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
            _with_a_tuple(teacher),
            _with_a_tuple(student),
            [taught, *pairs],
            student_loss_weight=float(alpha),
        )
    except ValueError as error:
        raise ModelError(
            f"{student.name} cannot learn from {teacher.name}: {one_line(error)}"
        ) from error
    steps = batches_per_epoch(count_samples(data.x_train), BATCH_SIZE)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)
    targets = taught.student.targets(data.labels("train"))
    losses = _as_tuple(taught.student.losses(keras, targets))
    distiller.compile(keras.optimizers.Adam(schedule), losses)
    fitted = distiller.fit(
        whole_batches(data.x_train, _as_tuple(targets), BATCH_SIZE),
        epochs=epochs,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
        callbacks=told(keras, epochs, steps),
    )
    return fitted.history


def _with_a_tuple(model: keras.Model) -> keras.Model:
    """The same model with several outputs as a tuple, the only structure a Distiller can take."""
    if not is_graph(model) or len(model.outputs) == 1:
        return model
    return keras.Model(model.input, _as_tuple(model.output), name=model.name)


def _as_tuple(nested: Any) -> Any:
    return tuple(keras.tree.flatten(nested)) if keras.tree.is_nested(nested) else nested


def _summary(
    teacher: keras.Model,
    student: keras.Model,
    taught: TaughtOutputs,
    alpha: float,
    features: Mapping[str, str],
) -> str:
    def described(model: keras.Model, objective: Objective) -> str:
        kinds = {
            "numbers"
            if isinstance(task.law, Quantities)
            else "probabilities"
            if objective.probabilities[name]
            else "logits"
            for name, task in objective.tasks.items()
        }
        return (
            f"{model.name} ({model.count_params():,} weights, gives {' and '.join(sorted(kinds))})"
        )

    pairs = "".join(f", features {one} -> {other}" for one, other in features.items())
    return (
        f"distilling {described(teacher, taught.teacher)} into "
        f"{described(student, taught.student)}: {alpha:g} of the loss from the labels, "
        f"{1 - alpha:g} from the teacher at temperature {taught.softened.temperature:g}{pairs}"
    )
