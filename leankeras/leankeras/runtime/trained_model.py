"""A trained model and its data, made to fit each other and checked."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from leankeras.arrays import Arrays, each_array, identifier, named_or_listed
from leankeras.data import Data
from leankeras.errors import ModelError
from leankeras.graph import (
    as_graph,
    input_names,
    is_graph,
    names_of_outputs,
    output_names,
    packed_inputs,
    run_graph,
)
from leankeras.objective import find_objective
from leankeras.runtime.model_files.opening import load_keras

TRIED_SAMPLES = 500


def load_trained(path: Path, data: Data) -> tuple[keras.Model, Data]:
    """Open a trained model and make its data fit it.

    Args:
        path: a ``.keras``, ``.h5`` or ``.hdf5`` file.
        data: labels of several outputs may go by the names of the layers that give them.

    Returns:
        The model as :func:`load_sized` opens it, and the data with its task, and with its labels
        under the names that files give the outputs.

    Raises:
        ModelError: the model cannot be opened, is subclassed, or does not fit the data.
        DataError: the labels fit no task.

    Example:
        >>> model, data = load_trained(Path("model.keras"), Data.load("data.npz"))
        >>> data.task.score.name
        'accuracy'
    """
    model = _open(path)
    data = _by_canonical_names(data, model)
    model = _of_sizes(model, data.x_train)
    objective = find_objective(model, data)
    if objective.task.name == "classification" and "output" in objective.shapes:
        _check_classes(path, model, data)
    return model, replace(data, task=objective.task)


def load_sized(path: Path, samples: Arrays) -> keras.Model:
    """Open a model with the sizes of some samples wherever its inputs have an open one.

    A model that takes and gives lists of one takes and gives the one.

    Args:
        path: a ``.keras``, ``.h5`` or ``.hdf5`` file.
        samples: shape ``(n, ...)``, or several by the names of the inputs.

    Raises:
        ModelError: the model cannot be opened, or is subclassed.
    """
    return _of_sizes(_open(path), samples)


def _open(path: Path) -> keras.Model:
    model = load_keras(path)
    if not is_graph(model):
        raise ModelError(
            f"{path}: a subclassed model ({type(model).__name__}), whose layers cannot be "
            "taken apart; expected a Functional or Sequential one"
        )
    if isinstance(model, keras.Sequential):
        return model
    one_each = len(model.inputs) == len(model.outputs) == 1
    if one_each and any(map(keras.tree.is_nested, (model.input, model.output))):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def _by_canonical_names(data: Data, model: keras.Model) -> Data:
    if not isinstance(data.y_train, Mapping):
        return data
    if len(model.outputs) == 1:
        (only,) = data.y_train
        return replace(data, **{name: labels[only] for name, labels in _labels(data).items()})
    names = keras.tree.flatten(names_of_outputs(model.output))
    by_layer = dict(zip(output_names(model), names, strict=True))
    return replace(
        data,
        **{
            part: {by_layer.get(name, identifier(name)): y for name, y in labels.items()}
            for part, labels in _labels(data).items()
        },
    )


def _labels(data: Data) -> dict[str, Any]:
    return {name: getattr(data, name) for name in ("y_train", "y_val", "y_test")}


def _of_sizes(model: keras.Model, x: Arrays) -> keras.Model:
    """The same layers on inputs of the samples' sizes, where a size was open."""
    if not any(None in tensor.shape[1:] for tensor in model.inputs):
        return model
    graph, names = as_graph(model), input_names(model)
    samples = dict(zip(names, named_or_listed(x, names), strict=True))
    inputs = [
        keras.Input(samples[name].shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in zip(names, graph.inputs, strict=True)
    ]
    return keras.Model(packed_inputs(graph, inputs), run_graph(graph, inputs), name=model.name)


def _check_classes(path: Path, model: keras.Model, data: Data) -> None:
    """Refuse a model whose outputs are not these classes.

    Raises:
        ModelError: it returns its inputs, or has more outputs than there are classes and is right
            less often than chance.
    """
    x = each_array(data.x_val, lambda array: array[:TRIED_SAMPLES])
    outputs = np.asarray(model.predict(x, verbose=0), "float64")
    for array in named_or_listed(x):
        same_size = outputs.size == array.size
        if same_size and np.var(outputs - array.reshape(outputs.shape)) < 0.5 * np.var(array):
            raise ModelError(
                f"{path}: returns its inputs, as an autoencoder does; leave out y_train, so that "
                "it is judged by how well it does so"
            )
    y = data.y_val[:TRIED_SAMPLES]
    if y.ndim > 1:
        return
    right = int((outputs.argmax(axis=-1) == y).sum())
    if outputs.shape[-1] > data.classes and right * data.classes < len(y):
        raise ModelError(
            f"{path}: {outputs.shape[-1]} outputs for {data.classes} classes, and the right one "
            f"is largest in only {right} of {len(y)} samples; expected a trained classifier with "
            "one output per class in the order of the labels"
        )
