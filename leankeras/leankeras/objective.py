"""What a model is trained for: its task, and the form in which it gives its answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isfunction
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import tree

from leankeras.arrays import each_array, named_or_listed
from leankeras.data import Data
from leankeras.errors import DataError, ModelError, one_line
from leankeras.graph import (
    final_activations,
    infer,
    input_names,
    is_graph,
    named_outputs,
    names_of_outputs,
)
from leankeras.task import SeveralTasks, Task, check_labels, infer_task

TRIED = 32


@dataclass(frozen=True)
class Objective:
    """The task of a model, and in which form its outputs answer it; see :func:`find_objective`.

    Outputs go by the names of :func:`leankeras.graph.named_outputs`.

    Attributes:
        task: what the outputs mean.
        names: of the outputs, nested as the model's outputs are.
        shapes: of each output, for one sample.
        probabilities: whether each comes from a softmax or a sigmoid rather than being logits.
    """

    task: Task | SeveralTasks
    names: Any
    shapes: Mapping[str, tuple[int, ...]]
    probabilities: Mapping[str, bool]

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The task of each output."""
        return self.task.by_output(self.shapes)

    def targets(self, labels: Any) -> Any:
        """Labels as the losses take them, nested as the model's outputs.

        Args:
            labels: as :meth:`leankeras.data.Data.labels` gives them.
        """
        if isinstance(self.task, SeveralTasks):
            by_name = labels
        else:
            only = named_or_listed(labels)[0]
            by_name = dict.fromkeys(self.shapes, only)
        return tree.map_structure(
            lambda name: self.tasks[name].law.arrange(by_name[name], (None, *self.shapes[name])),
            self.names,
        )

    def losses(self, framework: ModuleType, targets: Any) -> Any:
        """A loss for each output, nested as the outputs.

        Args:
            framework: ``keras`` or ``tf_keras``.
            targets: what :meth:`targets` gave.
        """

        def loss(name: str, arranged: np.ndarray) -> Any:
            task, shape = self.tasks[name], (None, *self.shapes[name])
            logits = not self.probabilities[name]
            if isfunction(task.loss):  # so that Keras can clone the model once it is compiled
                keras.saving.register_keras_serializable("leankeras")(task.loss)
            return task.loss or task.law.loss(framework, arranged, shape, logits)

        return tree.map_structure(loss, self.names, targets)

    def answers(self, outputs: Any) -> dict[str, Any]:
        """Each output by name: as logits along its last axis, or the numbers themselves.

        Args:
            outputs: as the model gives them, ``(n, ...)``.
        """
        flat = zip(tree.flatten(self.names), tree.flatten(outputs), strict=True)
        return {
            name: self.tasks[name].law.logits(output, self.probabilities[name])
            for name, output in flat
        }


def find_objective(model: keras.Model, data: Data) -> Objective:
    """What a model can be trained for with some data.

    Raises:
        ModelError: the model is not built, its weights are not finite, or it does not take the
            samples.
        DataError: the labels fit no task, or not the one that the data names.
    """
    if not model.built:
        raise ModelError(f"{model.name} is not built; give it an Input or call it first")
    check_weights(model)
    few = each_array(data.x_train, lambda array: array[:TRIED])
    if is_graph(model):
        _check_inputs(model, few)
    try:
        outputs = infer(model, few)
    except Exception as error:  # whatever a model does with what it was not made for
        raise ModelError(
            f"{model.name} does not take samples of shape {_shapes(few)}: {one_line(error)}"
        ) from error
    named = {name: np.asarray(output) for name, output in named_outputs(outputs).items()}
    shapes = {name: output.shape[1:] for name, output in named.items()}
    task = infer_task(shapes, data.evidence, data.task)
    if data.y_train is not None:
        for part in ("val", "test"):
            check_labels(task, shapes, data.labels(part), part)
    names = names_of_outputs(outputs)
    activations = dict(zip(tree.flatten(names), final_activations(model), strict=False))
    objective = Objective(task, names, shapes, {})
    probabilities = {
        name: task.law.are_probabilities(named[name].astype("float64"))
        and activations.get(name) != "linear"
        for name, task in objective.tasks.items()
    }
    return replace(objective, probabilities=probabilities)


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
        raise ModelError(f"{damaged} holds NaN or Inf; retrain {model.name}")


def _check_inputs(model: keras.Model, samples: Any) -> None:
    """What a call lets pass: Keras adds and drops a last axis of size 1, and more."""
    names = input_names(model)
    try:
        arrays = named_or_listed(samples, names)
    except DataError as error:
        raise ModelError(f"{model.name} has {len(names)} inputs: {error}") from error
    for name, array in zip(names, arrays, strict=True):
        tensor = model.inputs[names.index(name)]
        expected, seen = tuple(tensor.shape[1:]), array.shape[1:]
        if len(expected) != len(seen) or any(
            size not in (None, given) for size, given in zip(expected, seen, strict=True)
        ):
            raise ModelError(
                f"{model.name} does not take samples of shape {seen}; expected {expected}"
                + (f" for {name}" if len(names) > 1 else "")
            )


def _shapes(samples: Any) -> str:
    return ", ".join(str(array.shape[1:]) for array in named_or_listed(samples))
