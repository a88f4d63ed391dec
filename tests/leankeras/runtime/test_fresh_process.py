import keras
import numpy as np
import pytest

from leankeras.errors import MeasurementError
from leankeras.runtime import explore
from leankeras.scripts import run_script

LAYER = """
import keras

@keras.saving.register_keras_serializable("exploration")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(LAYER)
    return path


@pytest.fixture
def model(script):
    inputs = keras.Input((8, 4))
    twice = run_script(script).Twice(name="twice")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="dense")(twice))


SAMPLE = np.ones((1, 8, 4), np.float32)


def test_a_model_with_a_layer_of_the_users_is_measured_in_a_fresh_process(model):
    steps = []
    shares, rungs = explore(model, SAMPLE, batch=4, threads=1, report=steps.append)
    assert steps == [
        "starting TensorFlow with 1 thread",
        "timing the layers",
        "timing the ways to call",
    ]
    assert shares.layer.tolist() == ["(call)", "twice", "dense"]
    assert shares.share.sum() == pytest.approx(1)
    assert list(rungs.index)[:3] == ["predict", "eager", "tf.function"]
    assert rungs.ratio["tf.function"] == 1
    assert (rungs.us > 0).all()


def test_a_process_that_fails_is_one_line(model, script):
    script.unlink()
    with pytest.raises(MeasurementError, match=r"batch 2 with 1 thread\(s\) failed: .*mine\.py"):
        explore(model, SAMPLE, batch=2, threads=1)
