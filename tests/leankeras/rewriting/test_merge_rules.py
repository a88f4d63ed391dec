"""Each rule by itself: what n turns compute is what the merged operation computes."""

import numpy as np
import pytest

from leankeras.rewriting.alignment import Alignment
from leankeras.rewriting.building import Graph
from leankeras.rewriting.merge_rules import MERGE, NotAlike
from leankeras.rewriting.node import DATA, WEIGHT, in_order

BATCH, TURNS = 5, 3
RANDOM = np.random.default_rng(0)
SAME = {"strides": (1, 1), "padding": "SAME", "dilations": (1, 1)}
POOL = {
    "type": "MaxPool",
    "arguments": (("input", None),),
    "settings": (("ksize", (1, 2, 2, 1)), ("strides", (1, 2, 2, 1)), ("padding", "VALID")),
    "output": None,
}


def numbers(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def parts(g, *shape):
    """A part of one tensor for each turn."""
    x = g.leaf("input", numbers(BATCH, *shape[:-1], TURNS * shape[-1]), DATA, index=0)
    axis = len(shape)
    return [g.slice(x, axis, turn * shape[-1], shape[-1]) for turn in range(TURNS)]


def weights(g, *shape):
    return [g.leaf("weight", numbers(*shape), WEIGHT, index=turn) for turn in range(TURNS)]


def shared(g, *shape):
    return [g.leaf("input", numbers(BATCH, *shape), DATA, index=1)] * TURNS


def places(g):
    x = g.leaf("input", RANDOM.integers(0, 4, (BATCH, TURNS)).astype("int32"), DATA, index=2)
    return [g.slice(x, 1, turn, 1) for turn in range(TURNS)]


def each(g, op, *columns, **attributes):
    return [g.make(op, *inputs, **attributes) for inputs in zip(*columns, strict=True)]


CASES = {
    "elementwise": [
        lambda g: each(g, "elementwise", parts(g, 4, 2), weights(g, 2), function="AddV2"),
        lambda g: each(g, "elementwise", shared(g, 4, 2), weights(g, 1), function="Mul"),
        lambda g: each(g, "elementwise", parts(g, 2), function="Tanh"),
    ],
    "leaky_relu": [lambda g: each(g, "leaky_relu", parts(g, 2), alpha=0.25)],
    "cast": [lambda g: each(g, "cast", parts(g, 2), dtype="int32")],
    "product": [
        lambda g: each(g, "product", parts(g, 2), weights(g, 2, 4), equation=("bi", "ij", "bj")),
        lambda g: each(g, "product", shared(g, 2), weights(g, 2, 4), equation=("bi", "ij", "bj")),
        lambda g: each(g, "product", parts(g, 4, 2), shared(g, 4, 2),
                       equation=("bqd", "bkd", "bqk")),
    ],
    "reduce": [lambda g: each(g, "reduce", parts(g, 4, 2), function="Sum", axes=(1,))],
    "reshape": [lambda g: each(g, "reshape", parts(g, 4, 2), shape=(BATCH, 8))],
    "transpose": [lambda g: each(g, "transpose", parts(g, 4, 2), axes=(0, 2, 1))],
    "slice": [lambda g: each(g, "slice", each(g, "softmax", parts(g, 4, 2), axis=2),
                             axis=1, start=1, count=2, step=1)],
    "softmax": [lambda g: each(g, "softmax", parts(g, 4, 2), axis=1)],
    "cumsum": [
        lambda g: each(g, "cumsum", parts(g, 4, 2), axis=1, exclusive=False, reverse=False)
    ],
    "gather": [
        lambda g: [g.gather(g.make("softmax", x, axis=1), 1, [3, 0, 0]) for x in parts(g, 4, 2)],
        lambda g: each(g, "gather", weights(g, 4, 2)[:1] * TURNS, places(g), axis=0),
    ],
    "batch_gather": [
        lambda g: each(g, "batch_gather", parts(g, 4), places(g), axis=1, batch_dims=1),
        lambda g: each(g, "batch_gather", shared(g, 4, 2), places(g), axis=1, batch_dims=1),
        lambda g: each(g, "batch_gather", parts(g, 4, 2), [places(g)[0]] * TURNS,
                       axis=1, batch_dims=1),
    ],
    "argmax": [lambda g: each(g, "argmax", parts(g, 4, 2), axis=1, dtype="int64")],
    "broadcast": [lambda g: each(g, "broadcast", parts(g, 4, 1), shape=(BATCH, 4, 3))],
    "concatenate": [
        lambda g: each(g, "concatenate", each(g, "softmax", parts(g, 4, 2), axis=2),
                       shared(g, 4, 2), axis=1)
    ],
    "convolution": [
        lambda g: each(g, "convolution", parts(g, 4, 4, 2), weights(g, 3, 3, 2, 2), **SAME),
        lambda g: each(g, "convolution", shared(g, 4, 4, 2), weights(g, 3, 3, 2, 2), **SAME),
        lambda g: each(g, "convolution", parts(g, 4, 4, 2), weights(g, 3, 3, 2, 2)[:1] * TURNS,
                       **SAME),
        lambda g: each(g, "convolution", parts(g, 4, 4, 1), weights(g, 3, 3, 1, 2), **SAME),
    ],
    "depthwise": [
        lambda g: each(g, "depthwise", parts(g, 4, 4, 2), weights(g, 3, 3, 2, 1), **SAME)
    ],
    "kept": [lambda g: each(g, "kept", parts(g, 4, 4, 2), **POOL)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("op", "make"), [(op, make) for op, cases in CASES.items() for make in cases]
)
@pytest.mark.parametrize("options", [{}, {"last": True}, {"front": True}])
def test_merged_turns_compute_what_the_turns_computed(op, make, options):
    g = Graph(BATCH)
    turns = make(g)
    merged, axis = Alignment(g, **options)(turns)
    wanted = np.stack([turn.value for turn in turns], axis)
    np.testing.assert_allclose(merged.value, wanted, rtol=1e-5, atol=1e-5)
    inputs = [node for node in in_order([merged]) if node.op == "concatenate"]
    assert all(node.depends < DATA or op == "concatenate" for node in inputs)  # nothing is copied


def test_every_row_of_the_table_is_tried():
    assert set(CASES) == set(MERGE)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda g: [g.elementwise(f, x) for f, x in zip(("Tanh", "Exp", "Abs"), parts(g, 2),
                                                          strict=True)],
         "differ in how"),
        (lambda g: [g.reshape(x, shape) for x, shape in zip(
            parts(g, 4, 2), ((BATCH, 8), (BATCH, 2, 4), (BATCH, 4, 2)), strict=True)],
         "shapes differ"),
        (lambda g: [parts(g, 2)[0], g.elementwise("Tanh", parts(g, 2)[1]), parts(g, 2)[2]],
         "different things"),
        (lambda g: each(g, "kept", parts(g, 4, 4, 2), **{**POOL, "type": "LRN", "settings": ()}),
         "no rule to merge LRN"),
    ],
)  # fmt: skip
def test_turns_that_differ_say_in_what(make, reason):
    g = Graph(BATCH)
    with pytest.raises(NotAlike, match=reason):
        Alignment(g)(make(g))
