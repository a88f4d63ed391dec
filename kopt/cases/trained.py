"""A trained model of one's own, with its data, as a case without a rewrite or a teacher."""

from pathlib import Path

from kopt.budget import Budget
from kopt.case import Case, Epochs
from leankeras.data import Data
from leankeras.errors import ModelError
from leankeras.graph import is_graph
from leankeras.runtime import load_keras
from leankeras.training import check_classifier

EPOCHS = Epochs(profile=0, prune=6, distil=10, qat=4)


def trained_case(model_path: Path, data_path: Path) -> Case:
    """The case that a ``.keras`` file and an ``.npz`` make; both are opened and checked here.

    Raises:
        ModelError: the model cannot be opened, is subclassed, or does not fit the data.
        DataError: the data cannot be used.
    """
    data = Data.load(data_path)
    model = load_keras(model_path)
    if not is_graph(model):
        raise ModelError(
            f"{model_path}: a subclassed model ({type(model).__name__}), whose layers cannot be "
            "taken apart; expected a Functional or Sequential one"
        )
    check_classifier(model, data)
    if None in model.input_shape[1:]:
        shape = data.x_train.shape[1:]
        raise ModelError(
            f"{model_path}: inputs of shape {model.input_shape[1:]}, of which a size is open; "
            f"build it with keras.Input({shape}), load its weights and save it"
        )
    return Case(
        name=model_path.stem,
        title=f"{model_path.name}, as it was trained, on {data_path.name}",
        load=lambda: data,
        build=lambda: load_keras(model_path),
        epochs=EPOCHS,
        budget=Budget(accuracy_loss=0.01),
    )
