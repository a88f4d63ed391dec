import keras
import pytest

from leankeras.budget import Budget
from leankeras.conversion import convert
from leankeras.searching import Goal, Materials, Settings, ThisProcess, find_space, run_session
from leankeras.task import Task
from leankeras.training import fit

layers = keras.layers


def network(width: int) -> keras.Model:
    stack = [
        layers.Conv1D(width, 3, padding="same", activation="relu", name="conv"),
        layers.Conv1D(width, 3, padding="same", activation="relu", name="conv2"),
        layers.GlobalAveragePooling1D(name="mean"),
        layers.Dense(2, name="logits"),
    ]
    return keras.Sequential([keras.Input((16, 2)), *stack], name=f"net{width}")


@pytest.fixture(scope="session")
def materials(blobs, tmp_path_factory) -> Materials:
    """A trained model and a teacher, of blobs."""
    keras.utils.set_random_seed(0)
    model, teacher = network(8), network(16)
    for each in (model, teacher):
        fit(each, blobs, 4)
    slow = convert(model, tmp_path_factory.mktemp("slow") / "slow.tflite", "float32").path
    data = blobs.__class__(**{**vars(blobs), "task": Task.classification()})
    return Materials(model, teacher, data, slow, seed=0)


@pytest.fixture(scope="session")
def space(materials):
    epochs = {"prune": 1, "distil": 1, "qat": 1}
    return find_space(materials, epochs, ("float32", "int8"), Budget(accuracy_loss=0.05))


@pytest.fixture(scope="session")
def session(materials, space, tmp_path_factory):
    """A whole search with real models: what was found, the trials, and the conditions."""
    folder = tmp_path_factory.mktemp("search")
    settings = Settings(Budget(accuracy_loss=0.2), trials=4)
    goal = Goal("fastest", settings.budget, materials.data.task.score.merit)
    pool = ThisProcess(materials)
    return run_session(settings, goal, space, pool, folder, materials.slow, "kopt run")
