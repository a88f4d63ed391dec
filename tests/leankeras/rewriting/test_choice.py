"""Which draft is given: the fastest that is proved, and none that is no faster."""

import keras
import numpy as np
import pytest

from leankeras.errors import RewriteError
from leankeras.rewriting import merge_rules, recognition
from leankeras.rewriting.compilation import Compiled
from leankeras.rewriting.rewriting import rewrite_layer
from tests.layers.attention import HeadList
from tests.leankeras.rewriting.trying import Given, first_is_fastest, last_is_fastest

SHAPE = (5, 6)


def heads():
    keras.utils.set_random_seed(0)
    return HeadList(heads=3, size=2, steps=5)


def names(asked):
    def measure(models, sample):
        asked.extend(models)
        assert sample.shape == (1, *SHAPE)
        return first_is_fastest(models, sample)

    return measure


def test_the_fastest_is_given():
    asked = []
    first = rewrite_layer(heads(), SHAPE, measure=names(asked))
    assert asked[0] == "as it is"
    assert len(asked) > 2
    assert first.name == asked[1]
    last = rewrite_layer(heads(), SHAPE, measure=last_is_fastest)
    assert last.name == asked[-1]
    assert last.source != first.source
    assert last.equivalence.equivalent


def test_what_is_no_faster_is_not_given():
    def slower(models, sample):
        return Given({name: 1.0 + 0.25 * place for place, name in enumerate(models)})

    with pytest.raises(RewriteError, match=r"no faster in LiteRT: 0\.80×"):
        rewrite_layer(heads(), SHAPE, measure=slower)


def test_what_cannot_be_proved_is_not_given(monkeypatch):
    """A draft with a mistake is passed over for the next; with a mistake in all, none is left."""
    right, broken = Compiled.assign, set(range(50))

    def assign(self, values, new):
        right(self, values, new)
        if len(new.weights) in broken:
            new.weights[0].assign(2 * new.weights[0] + 1)

    monkeypatch.setattr(Compiled, "assign", assign)
    monkeypatch.setattr(recognition, "KINDS", ())  # programs alone
    with pytest.raises(RewriteError, match="cannot be proved: not equivalent"):
        rewrite_layer(heads(), SHAPE, measure=first_is_fastest)
    broken.remove(8)  # a weight and a bias each for queries, keys, values and what joins them
    found = rewrite_layer(heads(), SHAPE, measure=first_is_fastest)
    assert found.equivalence.equivalent
    assert len(found.layer.weights) == 8


def test_a_rule_that_is_wrong_is_caught_where_it_is_wrong(monkeypatch):
    def swapped(align, x, inputs, n, wanted):
        merged, axis = merge_rules.product(align, x, inputs, n, wanted)
        return align.graph.take(merged, axis, np.arange(n)[::-1]), axis

    monkeypatch.setitem(merge_rules.MERGE, "product", swapped)
    with pytest.raises(RewriteError, match="a rule of rewrite's is wrong"):
        rewrite_layer(heads(), SHAPE, measure=first_is_fastest)
