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


@dataclass(frozen=True)
class Objective:
    """What a model is trained for: its task, and in which form it gives its answers.

    Made by :func:`find_objective`. Where there are several outputs, ``laws``, ``shapes`` and
    ``probabilities`` have an entry for each, by the names of :func:`leankeras.graph.named_outputs`.

    Attributes:
        task: what the outputs mean.
        shapes: of the outputs for one sample.
        probabilities: whether they come from a softmax or a sigmoid, and are no logits.
        nested: the outputs' names in the structure of the model's outputs; a string for one.
    """

    task: Task | SeveralTasks
    shapes: Mapping[str, tuple[int, ...]]
    probabilities: Mapping[str, bool]
    nested: Any

    @property
    def tasks(self) -> dict[str, Task]:
        """The task of each output."""
        if isinstance(self.task, SeveralTasks):
            return dict(self.task.tasks)
        return dict.fromkeys(self.shapes, self.task)

    def targets(self, data: Data) -> Any:
        """The labels of the training part, as the losses take them, nested as the outputs."""
        labels = data.labels("train")
        several = isinstance(self.task, SeveralTasks)

        def of(name: str) -> np.ndarray:
            array = labels[name] if several else _only(labels)
            return self.tasks[name].law.arrange(array, (None, *self.shapes[name]))

        return tree.map_structure(of, self.nested)

    def losses(self, framework: ModuleType, data: Data) -> Any:
        """The losses, of ``keras`` or ``tf_keras``, nested as the outputs."""

        def of(name: str, targets: np.ndarray) -> Any:
            task = self.tasks[name]
            if task.loss:
                return task.loss
            shape = (None, *self.shapes[name])
            return task.law.loss(framework, targets, shape, not self.probabilities[name])

        return tree.map_structure(of, self.nested, self.targets(data))

    def logits(self, outputs: Any) -> dict[str, Any]:
        """Each output by name, as logits of classes along its last axis, or as the numbers it is.

        Args:
            outputs: as the model gives them, ``(n, ...)``.
        """
        named = {name: output for name, output in zip(
            tree.flatten(self.nested), tree.flatten(outputs), strict=True
        )}
        return {
            name: output
            if isinstance(self.tasks[name].law, Quantities)
            else self.tasks[name].law.logits(output, self.probabilities[name])
            for name, output in named.items()
        }


def find_objective(model: keras.Model, data: Data) -> Objective:
    """What a model can be trained for with some data; refuses, before any training, what cannot be.

    Raises:
        ModelError: the model is not built, its weights are not finite, or its inputs do not fit
            the data.
        DataError: the labels fit no task, or not the one that the data names.
    """
    if not model.built:
        raise ModelError(f"{model.name} is not built; give it an Input or call it first")
    check_weights(model)
    if is_graph(model):
        _check_inputs(model, data)
    few = each_array(data.x_train, lambda array: array[:TRIED])
    try:
        outputs = infer(model, arranged(model, few))
    except Exception as error:  # whatever a model does with what it was not made for
        shapes = ", ".join(str(array.shape[1:]) for array in named_or_listed(few))
        raise ModelError(
            f"{model.name} does not take samples of shape {shapes}: {one_line(error)}"
        ) from error
    named = {name: np.asarray(output) for name, output in named_outputs(outputs).items()}
    shapes = {name: output.shape[1:] for name, output in named.items()}
    task = data.task
    if task is None or isinstance(task, str):
        task = infer_task(shapes, None if data.y_train is None else data.y_train, task)
    ...
def batches_per_epoch(samples: int, batch_size: int) -> int:
    """How many whole batches a pass over the samples has: see ``whole_batches``."""
    return max(1, samples // batch_size)


def whole_batches(data: Data, batch_size: int) -> tf.data.Dataset:
    """The training part in batches of one size, shuffled anew for each pass.

    What a pass leaves over, which would make a smaller batch, is left out of it: other samples
    each time. Where there are fewer samples than a batch has, all of them make one, but for one
    where their number is odd.

    On processors with AMX, oneDNN as TensorFlow 2.21 has it corrupts the heap in the gradient of a
    1 × 1 convolution with a stride when the number of samples in the batch is odd, as that of a
    last batch may be. With even numbers, 2 to 64, it did not on any of 200 sizes tried.

    Args:
        data: its training part is used.
        batch_size: samples in a batch.

    Returns:
        Pairs of samples ``(batch_size, ...)``, with a shape that is known, and class indices.
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

    Every batch is whole, see ``whole_batches``.

    Args:
        model: a Keras 3 model, or a tf_keras one with ``framework=tf_keras``.
        data: what to train on; the test part is not looked at.
        epochs: passes over the training part.
        learning_rate: where the cosine schedule starts; it ends at 0.
        batch_size: samples in a batch; best an even number.
        framework: the module the model is made of, ``keras`` or ``tf_keras``.
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
