"""A user's trained model and its data, as a case without a rewrite or a teacher."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from kopt.budget import Budget
from kopt.case import Case, Epochs
from leankeras.data import Data
from leankeras.errors import ModelError
from leankeras.graph import is_graph
from leankeras.runtime import load_keras
from leankeras.scripts import import_module
from leankeras.training import check_classifier

EPOCHS = Epochs(profile=0, prune=6, distil=10, qat=4)
TRIED_SAMPLES = 500


def trained_case(model_path: Path, data_path: Path, modules: Sequence[str] = ()) -> Case:
    """Make a case of a model file and an ``.npz``, both opened and checked here.

    Args:
        model_path: a ``.keras``, ``.h5`` or ``.hdf5`` file.
        data_path: as :meth:`Data.load` reads it.
        modules: names or files of modules that register custom layers of the model.

    Raises:
        ModelError: the model cannot be opened, is subclassed, does not fit the data, or is not a
            classifier.
        DataError: the data cannot be used.
    """
    data = Data.load(data_path)
    for module in modules:
        import_module(module)
    model = _open(model_path)
    if not is_graph(model):
        raise ModelError(
            f"{model_path}: a subclassed model ({type(model).__name__}), whose layers cannot be "
            "taken apart; expected a Functional or Sequential one"
        )
    check_classifier(model, data)
    _check_outputs(model_path, model, data)
    shape = model.inputs[0].shape[1:]
    if None in shape:
        raise ModelError(
            f"{model_path}: inputs of shape {shape} have an open size; build it with "
            f"keras.Input({data.x_train.shape[1:]}), load its weights and save it"
        )
    return Case(
        name=model_path.stem,
        title=f"{model_path.name}, as trained, on {data_path.name}",
        load=lambda: data,
        build=lambda: _open(model_path),
        epochs=EPOCHS,
        budget=Budget(accuracy_loss=0.01),
    )


def _open(path: Path) -> keras.Model:
    """Open a model; an input or output in a list of one is taken out of the list."""
    model = load_keras(path)
    if not is_graph(model) or isinstance(model, keras.Sequential):
        return model
    one_each = len(model.inputs) == len(model.outputs) == 1
    if one_each and any(map(keras.tree.is_nested, (model.input, model.output))):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def _check_outputs(path: Path, model: keras.Model, data: Data) -> None:
    """Refuse a model whose outputs are not classes, such as an autoencoder.

    Raises:
        ModelError: it returns its inputs, or has more outputs than there are classes and is right
            less often than chance.
    """
    x, y = data.x_val[:TRIED_SAMPLES], data.y_val[:TRIED_SAMPLES]
    outputs = np.asarray(model.predict(x, verbose=0), "float64")
    if outputs.size == x.size and np.var(outputs - x.reshape(outputs.shape)) < 0.5 * np.var(x):
        raise ModelError(
            f"{path}: returns its inputs, as an autoencoder does; expected a classifier with one "
            "output per class"
        )
    right = int((outputs.argmax(axis=-1) == y).sum())
    if outputs.shape[-1] > data.classes and right * data.classes < len(y):
        raise ModelError(
            f"{path}: {outputs.shape[-1]} outputs for {data.classes} classes, and the right one "
            f"is largest in only {right} of {len(y)} samples; expected a trained classifier with "
            "one output per class, in the order of the labels"
        )
