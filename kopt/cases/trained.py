"""A trained model of the user's with its data, as a case without a teacher or rewrites."""

from collections.abc import Sequence
from pathlib import Path

from kopt.case import Case, Epochs
from leankeras.budget import Budget
from leankeras.data import Data
from leankeras.runtime import load_sized, load_trained
from leankeras.scripts import import_module

EPOCHS = Epochs(profile=0, prune=6, distil=10, qat=4)
MAY_LOSE = 0.01  # a point of a share
MAY_GROW = 0.03  # of an error


def trained_case(model_path: Path, data_path: Path, modules: Sequence[str] = ()) -> Case:
    """The case made of a model file and its data; both are opened and checked here.

    Args:
        model_path: a ``.keras``, ``.h5`` or ``.hdf5`` file.
        data_path: as :meth:`Data.load` reads it.
        modules: names or files of modules that register custom layers of the model.

    Raises:
        ModelError, DataError: as :func:`leankeras.runtime.load_trained`.
    """
    for module in modules:
        import_module(module)
    _, data = load_trained(model_path, Data.load(data_path))
    share = not data.task.score.is_error
    return Case(
        name=model_path.stem,
        title=f"{model_path.name}, as trained, on {data_path.name}",
        load=lambda: data,
        build=lambda: load_sized(model_path, data.x_train),
        epochs=EPOCHS,
        budget=Budget(accuracy_loss=MAY_LOSE) if share else Budget(error_growth=MAY_GROW),
    )
