import keras
import numpy as np
import pytest

from leankeras.channels.sensitivity import channel_sensitivity
from leankeras.distillation.trials import distillation_trials
from leankeras.training import fit


def test_the_layer_that_carries_the_answer_minds_most(blobs):
    """Both branches lead to the answer; one of them is multiplied by nothing."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 2))
    mean = keras.layers.GlobalAveragePooling1D()(inputs)
    used = keras.layers.Dense(2, name="used", use_bias=False)(mean)
    idle = keras.layers.Dense(4, name="idle", use_bias=False)(mean)
    joined = keras.layers.Concatenate()([used, idle])
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits", use_bias=False)(joined))
    model.get_layer("used").set_weights([np.eye(2)])
    model.get_layer("logits").set_weights([np.vstack([np.eye(2), np.zeros((4, 2))])])
    table = channel_sensitivity(model, blobs).set_index("layers")
    assert table.channels.to_dict() == {"used": 2, "idle": 4}
    assert table.accuracy_lost["idle"] == 0
    assert table.accuracy_lost["used"] > 0.2
    assert table.index[0] == "used"


def test_a_trial_depends_on_its_setting_and_seed_only(small_model, blobs):
    teacher = keras.models.clone_model(small_model)
    fit(teacher, blobs, 5, learning_rate=0.02)
    before = small_model.get_weights()
    settings = [None, (4.0, 0.1)]
    trials = distillation_trials(teacher, small_model, blobs, settings, [0, 1], epochs=2)
    assert trials.setting.tolist() == ["labels alone"] * 2 + ["T = 4, alpha = 0.1"] * 2
    again = distillation_trials(teacher, small_model, blobs, settings[1:], [1], epochs=2)
    assert again.accuracy[0] == pytest.approx(trials.accuracy[3])
    for old, new in zip(before, small_model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
