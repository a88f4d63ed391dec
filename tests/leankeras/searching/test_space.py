import keras
import pytest

from leankeras.budget import Budget
from leankeras.searching import Candidate, Materials, Space, find_space
from tests.leankeras.searching.stubs import DEFAULT, SPACE


def test_it_knows_the_groups_and_what_the_default_chain_removes(space):
    assert {group[0] for group in space.groups} == {"conv", "conv2"}
    assert space.groups[0][2] >= space.groups[1][2] >= 0
    assert space.aware
    assert set(space.float_layers) <= {"conv", "conv2", "logits", "mean"}
    assert space.default.mode == "int8"
    assert Space.from_json(space.to_json()) == space


def test_anchors_are_in_the_space_and_stand_for_what_is_tried_first():
    anchors = SPACE.anchors()
    assert [candidate for _, candidate in anchors] == [
        DEFAULT,
        Candidate(),
        Candidate(mode="float32"),
    ]
    for knobs, _ in anchors:
        for name, distribution in SPACE.distributions().items():
            assert distribution._contains(distribution.to_internal_repr(knobs[name])), name
    knobs = {**anchors[0][0], "level": 0.5}
    assert SPACE.candidate(knobs).shares == {"conv": 0.5, "conv2": 0.5}


def test_the_sensitive_are_spared_and_shares_stay_in_range():
    knobs = SPACE.anchors()[0][0] | {"level": 0.8, "spare the sensitive": 1.0}
    assert SPACE.candidate(knobs).shares == {"conv2": 0.56}
    most = SPACE.candidate({**knobs, "level": 0.9, "more of conv2": 0.3}).shares["conv2"]
    assert most == pytest.approx(0.9)


def test_settings_that_a_mode_does_not_have_are_left_out():
    knobs = SPACE.anchors()[0][0] | {"layers in float": 1, "quantization-aware": True}
    assert SPACE.candidate(knobs).keep_float == ("logits",)
    assert SPACE.candidate(knobs).qat_epochs == 2
    in_float = SPACE.candidate({**knobs, "mode": "float32", "teacher": False})
    assert (in_float.keep_float, in_float.qat_epochs, in_float.temperature) == ((), 0, None)


def test_a_model_in_which_nothing_can_be_removed_is_searched_for_the_rest(materials):
    stack = [keras.layers.Flatten(), keras.layers.Dense(2, name="logits")]
    fixed = keras.Sequential([keras.Input((16, 2)), *stack], name="fixed")
    alone = Materials(fixed, fixed, materials.data, materials.slow, 0)
    epochs = {"prune": 1, "distil": 1, "qat": 1}
    space = find_space(alone, epochs, ("float32",), Budget(accuracy_loss=0.01))
    assert space.groups == ()
    assert space.default.shares == {}
    assert "no channel of this model can be removed" in space.notes[0]
    assert set(space.distributions()) == {
        *("mode", "teacher", "distil_epochs", "temperature", "alpha")
    }
