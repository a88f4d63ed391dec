"""Layers rewritten, proved and printed: the cases, the patterns, and layers never seen before."""

import keras
import numpy as np
import pytest

from kopt.cases import signal, stream, vision
from leankeras.equivalence import check_equivalence
from leankeras.errors import RewriteError
from leankeras.rewriting import drafts
from tests.layers import FUNCTIONS, PATTERNS, WELL_WRITTEN
from tests.layers.repeated import REPEATED
from tests.leankeras.rewriting.trying import rewritten, run_source

CASES = [
    pytest.param(lambda: signal.CustomConv(8, 3), (16, 4), "Conv1D", id="signal"),
    pytest.param(lambda: vision.SpatialAttention(3), (6, 6, 5), "program", id="vision"),
    pytest.param(lambda: stream.SteppedLSTM(4), (7, 3), "LSTM", id="stream"),
]
STOCK = {
    "filter loop": "Conv1D", "group convolution": "Conv2D", "pooling": "MaxPooling2D",
    "per-channel convolution": "DepthwiseConv1D", "hand-written LSTM": "LSTM",
    "dense per timestep": "Dense", "hand-written GRU": "GRU", "list of heads": "MultiHeadAttention",
}  # fmt: skip
LAYERS = CASES + [
    pytest.param(p.slow, p.input_shape, STOCK.get(p.name, "program"), id=p.name)
    for p in [*PATTERNS, *REPEATED]
]
# Several inputs and outputs, whole numbers, half precision; what else is there takes masks.
OTHERS = ["graph attention", "token and position embeddings", "conditional modulation",
          "cross attention", "products in half precision", "sums and their levels"]  # fmt: skip


@pytest.fixture(autouse=True)
def one_layout(monkeypatch):
    """The first layout will do: the others differ in time alone."""
    monkeypatch.setattr(drafts, "LAYOUTS", drafts.LAYOUTS[:1])


@pytest.mark.parametrize(("make", "shape", "name"), LAYERS)
def test_what_loops_repeat_is_done_at_once(make, shape, name):
    keras.utils.set_random_seed(0)
    layer = make()
    found = rewritten(layer, shape)
    assert found.name == name
    assert found.equivalence.equivalent
    assert found.steps
    sizes = [sum(np.prod(w.shape) for w in each.trainable_weights) for each in (layer, found.layer)]
    assert sizes[0] == sizes[1]
    printed, port = run_source(found.source)
    assert check_equivalence(layer, printed, shape, port=port).equivalent
    assert max(map(len, found.source.splitlines())) <= 100


@pytest.mark.parametrize(
    "function", [pytest.param(f, id=f.name) for f in FUNCTIONS if f.name in OTHERS]
)
def test_so_it_is_with_several_inputs_and_other_types(function):
    found = rewritten(function.slow(), function.input_shape)
    assert found.equivalence.equivalent
    assert found.nodes[1] < found.nodes[0]


@pytest.mark.parametrize(("cls", "shape"), WELL_WRITTEN)
def test_well_written_layers_have_nothing_to_gain(cls, shape):
    with pytest.raises(RewriteError, match="nothing to gain"):
        rewritten(cls(), shape)


def test_the_layer_stays_as_it_was():
    layer = signal.CustomConv(4, 3)
    layer.build((None, 8, 2))
    before = [weight.numpy() for weight in layer.weights]
    found = rewritten(layer, (8, 2))
    for old, weight in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(old, weight.numpy())
    for each in (layer, found.layer):
        with pytest.raises(AttributeError):
            each.input  # noqa: B018  called on no symbolic tensor
    x = np.random.default_rng(0).normal(size=(2, 8, 2)).astype("float32")
    np.testing.assert_allclose(layer(x), found.layer(x), atol=1e-6)
