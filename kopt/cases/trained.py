"""A trained model of the user's with its data, as a case without a teacher or rewrites."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kopt.case import Case, Epochs
from leankeras.arrays import each_array, identifier, named_or_listed
from leankeras.budget import Budget
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
from leankeras.runtime import load_keras
from leankeras.scripts import import_module

EPOCHS = Epochs(profile=0, prune=6, distil=10, qat=4)
MAY_LOSE = 0.01  # a point of a share
MAY_GROW = 0.03  # of an error
TRIED_SAMPLES = 500


def trained_case(model_path: Path, data_path: Path, modules: Sequence[str] = ()) -> Case:
    """The case made of a model file and its data; both are opened and checked here.

    Args:
        model_path: a ``.keras``, ``.h5`` or ``.hdf5`` file.
        data_path: as :meth:`Data.load` reads it.
        modules: names or files of modules that register custom layers of the model.

    Raises:
        ModelError: the model cannot be opened, is subclassed, or does not fit the data.
        DataError: the data cannot be used, or its labels fit no task.
    """
    for module in modules:
        import_module(module)
    model = _open(model_path)
    data = _by_canonical_names(Data.load(data_path), model)
    model = _of_sizes(model, data)
    objective = find_objective(model, data)
    data = replace(data, task=objective.task)
    if objective.task.name == "classification" and "output" in objective.shapes:
        _check_classes(model_path, model, data)
    share = not objective.task.score.is_error
    return Case(
        name=model_path.stem,
        title=f"{model_path.name}, as trained, on {data_path.name}",
        load=lambda: data,
        build=lambda: _of_sizes(_open(model_path), data),
        epochs=EPOCHS,
        budget=Budget(accuracy_loss=MAY_LOSE) if share else Budget(error_growth=MAY_GROW),
    )


def _open(path: Path) -> keras.Model:
    """Open a model; one that takes and gives lists of one takes and gives the one."""
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
    """The data with its labels under the names that files give outputs.

    A user may name them by the layers that give them.
    """
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


def _of_sizes(model: keras.Model, data: Data) -> keras.Model:
    """The same layers on inputs of the data's sizes, where a size was open."""
    if not any(None in tensor.shape[1:] for tensor in model.inputs):
        return model
    graph, names = as_graph(model), input_names(model)
    samples = dict(zip(names, named_or_listed(data.x_train, names), strict=True))
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
