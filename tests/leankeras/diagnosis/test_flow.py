"""Tracing where tensors come from, in graphs of a few operations."""

import keras
import pytest
import tensorflow as tf
from keras import ops

from leankeras.diagnosis.flow import Flow


def flow_of(function, *shapes) -> tuple[Flow, list[tf.Tensor]]:
    specs = [tf.TensorSpec(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    traced = tf.function(function, autograph=False).get_concrete_function(*specs)
    return Flow(traced.graph), [tensor.op.inputs[0] for tensor in traced.outputs]


@pytest.mark.parametrize(
    ("take", "axis", "start", "width"),
    [
        (lambda x: x[:, 2], 1, 2, 1),
        (lambda x: x[:, -1], 1, 5, 1),
        (lambda x: x[:, 1:4], 1, 1, 3),
        (lambda x: x[..., 2:], 3, 2, 2),
        (lambda x: x[..., 1], 3, 1, 1),
        (lambda x: x[:, :, 3, tf.newaxis], 2, 3, 1),
        (lambda x: x[:, tf.newaxis, 3], 1, 3, 1),
        (lambda x: x[0], 0, 0, 1),
        (lambda x: ops.take(x, 4, axis=1), 1, 4, 1),
        (lambda x: tf.slice(x, (0, 0, 2, 0), (2, 6, 3, 4)), 2, 2, 3),
    ],
)
def test_what_is_cut_off(take, axis, start, width):
    flow, (taken,) = flow_of(take, (2, 6, 5, 4))
    while not list(flow.cuts(taken.op)):  # a reshape or the like may follow
        taken = taken.op.inputs[0]
    ((source, cut),) = flow.cuts(taken.op)
    assert source.op.type == "Placeholder"
    assert (cut.axis, cut.start, cut.width) == (axis, start, width)


def test_a_part_from_a_place_that_the_shape_tells():
    def halves(x):
        half = tf.cast(tf.cast(tf.shape(x)[1], "float32") / 2, "int32")
        return x[:, half:]

    flow, (taken,) = flow_of(halves, (2, 6, 5))
    ((_, cut),) = flow.cuts(taken.op)
    assert (cut.axis, cut.start, cut.width) == (1, 3, 3)


def test_a_part_from_a_computed_place_has_its_axis():
    flow, (taken,) = flow_of(lambda x: x[:, tf.cast(x[0, 0, 0], "int32") :, 1:], (2, 6, 5))
    cuts = {cut.axis: cut for _, cut in flow.cuts(taken.op)}
    assert set(cuts) == {1, 2}
    assert isinstance(cuts[1].start, str)


@pytest.mark.parametrize(
    ("cut", "axis", "widths"),
    [
        (lambda x: tf.unstack(x, axis=1), 1, [1] * 6),
        (lambda x: tf.split(x, 2, axis=-1), 3, [2, 2]),
        (lambda x: tf.split(x, [1, 3], axis=-1), 3, [1, 3]),
    ],
)
def test_pieces_of_what_was_cut_up(cut, axis, widths):
    flow, pieces = flow_of(cut, (2, 6, 5, 4))
    found = [next(flow.pieces(piece))[1] for piece in pieces]
    assert [one.axis for one in found] == [axis] * len(widths)
    assert [one.start for one in found] == list(range(len(widths)))
    assert [one.width for one in found] == widths


@pytest.mark.parametrize(
    ("make", "axis", "first"),
    [
        (lambda x: tf.nn.relu(x * 2 + 1), 1, ("Placeholder", 1)),
        (lambda x: tf.transpose(x, (0, 2, 1, 3)), 1, ("Placeholder", 2)),
        (lambda x: x[:, 0], 1, ("Placeholder", 2)),
        (lambda x: tf.expand_dims(x, 1), 2, ("Placeholder", 1)),
        (lambda x: tf.reshape(x, (2, 6, 20)), 1, ("Placeholder", 1)),
        (lambda x: tf.reshape(x, (2, 30, 4)), 1, ("Reshape", 1)),
        (lambda x: tf.reshape(x, (2, 6, 5, 2, 2))[..., 0], 3, ("Reshape", 3)),
        (lambda x: tf.nn.conv2d(x, tf.ones((3, 3, 4, 7)), 1, "SAME"), 1, ("Placeholder", 1)),
        (lambda x: tf.nn.conv2d(x, tf.ones((3, 3, 4, 7)), 1, "SAME"), 3, ("Conv2D", 3)),
    ],
)
def test_where_an_axis_begins(make, axis, first):
    flow, (tensor,) = flow_of(make, (2, 6, 5, 4))
    origin, place = flow.origin(tensor, axis)
    assert (origin.op.type, place) == first


def test_what_depends_on_inputs_and_on_weights():
    dense, large = keras.layers.Dense(3), tf.random.normal((100, 100))
    dense.build((None, 4))

    def function(x):
        return x @ dense.kernel, tf.sin(dense.bias), tf.shape(x) * 2, large * 2

    flow, (product, sine, size, constant) = flow_of(function, (2, 4))
    assert [flow.is_input(t) for t in (product, sine, size, constant)] == [True] + [False] * 3
    assert len(flow.from_weights[sine.op.name]) == 1
    assert not {product.op.name, size.op.name, constant.op.name} & set(flow.from_weights)
