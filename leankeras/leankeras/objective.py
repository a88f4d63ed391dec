"""What a model is trained for: its task, and the form in which it gives its answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import tree

from leankeras.arrays import each_array, named_or_listed
from leankeras.data import Data
from leankeras.errors import DataError, ModelError, one_line
from leankeras.graph import final_activation, infer, input_names, is_graph, named_outputs
from leankeras.task import Quantities, SeveralTasks, Task, infer_task

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
        if isinstance(self.task, SeveralTasks):
            return self.task.tasks
        return dict.fromkeys(self.shapes, self.task)

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
            return task.loss or task.law.loss(framework, arranged, shape, logits)

        return tree.map_structure(loss, self.names, targets)

    def answers(self, outputs: Any) -> dict[str, Any]:
        """Each output by name: as logits along its last axis, or the numbers themselves.

        Args:
            outputs: as the model gives them, ``(n, ...)``.
        """
        flat = zip(tree.flatten(self.names), tree.flatten(outputs), strict=True)
        return {
            name: output
            if isinstance(self.tasks[name].law, Quantities)
            else self.tasks[name].law.logits(output, self.probabilities[name])
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
    task = data.task
    if task is None or isinstance(task, str):
        task = infer_task(shapes, data.evidence, task)
    tasks = task.tasks if isinstance(task, SeveralTasks) else dict.fromkeys(shapes, task)
    activations = dict(zip(named, final_activations(model, len(named)), strict=True))
    return Objective(
        task=task,
        names=tree.pack_sequence_as(outputs, list(named)),
        shapes=shapes,
        probabilities={
            name: tasks[name].law.are_probabilities(named[name].astype("float64"))
            and activations[name] != "linear"
            for name in named
        },
    )
