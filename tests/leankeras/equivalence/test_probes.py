"""Probe values are valid for the kind of input they are used for."""

import numpy as np
import pytest

from leankeras.equivalence.probes import make_probes
from leankeras.equivalence.roles import ADJACENCY, BOXES, INDICES, LENGTHS, MASK, NUMBERS, Role
from leankeras.equivalence.values import draw

KINDS = ("random", "zeros", "ones", "large", "small", "sparse", "padded", "constant along axis 1")


def values(kind, shape, **options):
    role = Role("input", kind, shape, np.dtype("float32"), **options)
    rng = np.random.default_rng(0)
    return {probe: draw(role, probe, 3, rng) for probe in KINDS}


def test_a_mask_masks_something_and_never_everything():
    for shape in ((6,), (6, 1), (1, 1, 6)):
        drawn = values(MASK, shape)
        rows = {probe: mask.reshape(3, 6) for probe, mask in drawn.items()}
        assert all(np.isin(mask, (0, 1)).all() for mask in rows.values())
        assert all(mask.any(axis=1).all() for mask in rows.values())
        assert rows["ones"].all()
        assert not rows["random"].all()


def test_a_square_mask_leaves_every_row_and_column_something():
    for mask in values(MASK, (5, 5)).values():
        assert mask.any(axis=1).all()
        assert mask.any(axis=2).all()


def test_a_mask_of_what_is_left_out_is_the_other_way_round():
    drawn = values(MASK, (6,), penalized=1)
    assert not drawn["ones"].any()
    assert (drawn["random"] == 0).any(axis=1).all()


@pytest.mark.parametrize(("kind", "low", "high"), [(INDICES, 0, 6), (LENGTHS, 1, 7)])
def test_indices_and_lengths_stay_in_range(kind, low, high):
    drawn = values(kind, (20,), limit=high - (1 if kind == LENGTHS else 0))
    together = np.concatenate([each.ravel() for each in drawn.values()])
    assert set(together) == set(range(low, high))


def test_adjacencies_have_loops_and_are_one_way_or_weighted_too():
    drawn = values(ADJACENCY, (5, 5))
    assert all((np.diagonal(each, axis1=1, axis2=2) > 0).all() for each in drawn.values())
    assert (drawn["random"] != np.swapaxes(drawn["random"], 1, 2)).any()
    np.testing.assert_array_equal(drawn["padded"], np.swapaxes(drawn["padded"], 1, 2))
    np.testing.assert_allclose(drawn["large"].sum(axis=2), 1, rtol=1e-6)


def test_boxes_have_their_corners_in_order():
    for boxes in values(BOXES, (7, 4)).values():
        assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_padding_is_at_the_end_of_one_sample_and_the_start_of_another():
    padded = values(NUMBERS, (6, 2))["padded"]
    assert not padded[0, 3:].any()
    assert not padded[1, :3].any()
    assert padded[0, :3].all()
    assert padded[1, 3:].all()


def test_samples_come_last_and_give_masks_their_rows():
    rows = np.tril(np.ones((4, 4), "float32"))
    roles = [
        Role("x", NUMBERS, (4, 2), np.dtype("float32")),
        Role("mask", MASK, (4,), np.dtype("float32"), rows=rows),
    ]
    samples = [np.ones((4, 4, 2), "float32"), rows]
    probes = make_probes(roles, samples, batch=3)
    assert probes[-1].name == "samples"
    assert "empty mask" not in [probe.name for probe in probes]
    seen = {tuple(row) for row in rows}
    for probe in probes:
        assert {tuple(row) for row in probe.arrays[1]} <= seen


def test_what_may_be_a_mask_is_tried_as_one_beside_being_a_number():
    plain = Role("x", NUMBERS, (4, 2), np.dtype("float32"), also=(MASK,))
    other = Role("m", NUMBERS, (4,), np.dtype("float32"), also=(MASK,), doubtful=True)
    probes = {probe.name: probe for probe in make_probes([plain, other], None, batch=3)}
    assert probes["random"].doubtful
    assert not probes["m as mask"].doubtful
    assert np.isin(probes["m as mask"].arrays[1], (0, 1)).all()
    assert not np.isin(probes["m as mask"].arrays[0], (0, 1)).any()
    assert probes["x as mask"].doubtful
