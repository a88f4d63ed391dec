import keras
import numpy as np
import pandas as pd
import pytest

from kopt.cases.catalogue import find_case
from leankeras.errors import MeasurementError
from leankeras.runtime import graph_size, layers
from leankeras.runtime.layers import profile_layers


def test_the_loop_takes_most_of_the_time_and_both_methods_say_so(monkeypatch):
    """The time of a model being the number of its operations, which no clock has to tell."""

    def operations(models, sample):
        return pd.Series({name: graph_size(model, sample) for name, model in models.items()})

    monkeypatch.setattr(layers, "_undisturbed_us", operations)
    case = find_case("signal")
    shares = profile_layers(case.build(), case.load().x_test[:1])
    assert shares.share.sum() == pytest.approx(1)
    by_type = shares.groupby("type").share.sum()
    assert by_type["CustomConv"] > 0.5
    checked = shares.dropna(subset="share_by_swap")
    assert set(checked.type) == {"CustomConv"}
    assert checked.agree.all()


def test_branches_and_shared_layers_are_cut_where_they_can_be():
    inputs = keras.Input((8, 4))
    shared = keras.layers.Dense(4, name="shared")
    total = keras.layers.Add(name="sum")([shared(inputs), shared(shared(inputs))])
    shares = profile_layers(keras.Model(inputs, total), np.zeros((1, 8, 4), np.float32))
    assert shares.layer.tolist()[0] == "(call)"
    assert sorted(shares.layer[1:]) == ["shared", "shared #2", "shared #3", "sum"]


def test_models_without_a_graph_are_refused():
    class Plain(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(MeasurementError, match="cannot be cut"):
        profile_layers(Plain(), np.zeros((1, 2)))
