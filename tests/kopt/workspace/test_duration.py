"""How long a run takes, said before it starts, and what the notebooks do with a large set."""

from collections import Counter

import keras
import nbformat
import pytest
import tf_keras

from kopt.case import Epochs
from kopt.project import NOTEBOOKS
from kopt.workspace import duration
from kopt.workspace.duration import expected_duration, training_passes
from kopt.workspace.stage import open_stage
from leankeras.arrays import count_samples
from leankeras.errors import ParameterError
from leankeras.runtime import latency, scores

SAMPLES, FEW = 5000, 500
EPOCHS = Epochs(profile=0, prune=6, distil=10, qat=4)
CASE = f"""
import keras, numpy as np
import kopt

random = np.random.default_rng(0)
y = random.integers(0, 2, {SAMPLES})
x = random.normal(size=({SAMPLES}, 8, 8, 1)).astype("float32") + y[:, None, None, None]
data = kopt.Data(x, y, x[:500], y[:500])


def network():
    stack = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Conv2D(4, 3)]
    pooled = keras.layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input((8, 8, 1)), *stack, pooled, keras.layers.Dense(2)])


epochs = kopt.Epochs(profile=0, prune=6, distil=10, qat=4)
case = kopt.Case("images", "Images", lambda: data, network, epochs)
"""


def test_a_run_of_more_than_a_day_is_refused_with_what_to_change(small_model, blobs, monkeypatch):
    monkeypatch.setattr(duration, "seconds_per_pass", lambda model, data: 60.0)
    epochs = Epochs(profile=1, prune=3, distil=10, qat=3)
    assert expected_duration(small_model, blobs, epochs).startswith("about 2.1 h (54 passes over ")
    monkeypatch.setattr(duration, "seconds_per_pass", lambda model, data: 3600.0)
    with pytest.raises(ParameterError, match="longer than 24 hours; use fewer") as refused:
        expected_duration(small_model, blobs, epochs)
    allowed = str(refused.value).partition("KOPT_MAX_HOURS=")[2]
    monkeypatch.setenv("KOPT_MAX_HOURS", allowed)
    assert expected_duration(small_model, blobs, epochs).startswith("about 5.1 days")


@pytest.fixture
def counted(monkeypatch):
    """Samples trained on and samples scored; of a training only the first batch takes place."""
    counts, predictions = Counter(), scores.predictions
    for framework in (keras, tf_keras):
        whole = framework.Model.fit

        def fit(self, batches, epochs, whole=whole, **options):
            size = keras.tree.flatten(batches.element_spec)[0].shape[0]
            counts["trained"] += epochs * int(batches.cardinality()) * size
            return whole(self, batches.take(1), epochs=1, **options)

        monkeypatch.setattr(framework.Model, "fit", fit)

    def predicted(target, x):
        counts["scored"] += count_samples(x)
        return predictions(target, x)

    monkeypatch.setattr(scores, "predictions", predicted)
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.001)
    return counts


@pytest.mark.notebook
def test_the_notebooks_cost_a_few_trainings_whatever_the_size_of_the_set(
    counted, tmp_path, monkeypatch
):
    monkeypatch.setattr("kopt.workspace.stage.ILLUSTRATION_SAMPLES", FEW)
    (tmp_path / "images.py").write_text(CASE)
    given = {"case": f"{tmp_path / 'images.py'}:case", "run_dir": str(tmp_path / "run")}
    common = {**given, "seed": 0, "quick": False, "task": None}
    first = open_stage("01_profile", epochs=None, **common)
    first.finish(first.case.build())
    second = open_stage("02_rewrite", **common)
    second.finish(second.load())
    counted.clear()
    for stage in ("03_prune", "04_distil", "05_qat"):
        run_cells(stage, given)
    train = count_samples(first.data.x_train)
    plain = train * (EPOCHS.prune + EPOCHS.distil + EPOCHS.qat)
    # a sample is passed forwards once to score it, and about three times as much to train on it
    assert counted["trained"] + counted["scored"] / 3 < 4 * plain
    expected = train * training_passes(EPOCHS, FEW / train)
    assert counted["trained"] == pytest.approx(expected, rel=0.05)


def run_cells(stage, given):
    """The code of a notebook, one cell after the other, in this process."""
    names = {}
    for cell in nbformat.read(NOTEBOOKS / f"{stage}.ipynb", 4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, stage, "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names.update(given)
