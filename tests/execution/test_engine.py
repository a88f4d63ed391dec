"""The engine alone: segments whose task is a moment's work, on workers in this process."""

import pytest
from distributed import Client, LocalCluster

from kopt.execution.engine import run_tree
from kopt.execution.grid import Point
from kopt.execution.tree import share

KNOBS = {"1": set(), "2": {"a"}, "3": {"b"}}
POINTS = tuple(Point(f"{a}{b}", {"a": a, "b": b}) for a in "xy" for b in "mn")


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            protocol="tcp",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def names(segment):
    return segment.point, "".join(segment.stages)


def test_every_segment_is_run_once_after_the_one_it_continues_from(client):
    order = [result for _, result in run_tree(client, share(POINTS, KNOBS), names)]
    assert len(order) == len(set(order)) == 7
    assert order[0] == ("xm", "1")
    for point, before in (("xm", "xm"), ("xn", "xm"), ("ym", "ym"), ("yn", "ym")):
        assert order.index((before, "2")) < order.index((point, "3"))


def test_points_are_finished_before_others_are_begun(client):
    points = tuple(Point(str(seed), {"seed": seed}) for seed in range(6))
    segments = share(points, {"1": {"seed"}, "2": set(), "3": {"seed"}})
    assert {segment.stages for segment in segments} == {("1", "2", "3")}
    knobs = {"1": {"a"}, "2": {"b"}}
    grid = tuple(Point(f"{a}{b}", {"a": a, "b": b}) for a in range(6) for b in range(2))
    order = [result for _, result in run_tree(client, share(grid, knobs), names)]
    first_finished = next(place for place, (_, stage) in enumerate(order) if stage == "2")
    last_begun = max(place for place, (_, stage) in enumerate(order) if stage == "1")
    assert first_finished < last_begun


def fail_at_xm_2(segment):
    if names(segment) == ("xm", "2"):
        raise ValueError("no")
    return names(segment)


def test_what_continues_from_a_failure_is_not_run_and_all_else_is(client):
    outcomes = {names(segment): result for segment, result in run_tree(
        client, share(POINTS, KNOBS), fail_at_xm_2
    )}  # fmt: skip
    assert isinstance(outcomes.pop(("xm", "2")), ValueError)
    assert set(outcomes) == {("xm", "1"), ("ym", "2"), ("ym", "3"), ("yn", "3")}


def test_a_sweep_may_be_left_in_the_middle(client):
    running = run_tree(client, share(POINTS, KNOBS), names)
    assert next(running)[1] == ("xm", "1")
    running.close()
    again = [result for _, result in run_tree(client, share(POINTS, KNOBS), names)]
    assert len(again) == 7
