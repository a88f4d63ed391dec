"""The engine alone: segments with trivial tasks, on workers in this process."""

import time

import pytest
from distributed import Client, LocalCluster, worker_client

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


def knows_what_follows(dask_scheduler):
    return any(key.startswith("2-") for key in dask_scheduler.tasks)


def names_once_others_wait(segment):
    """Holds what is second to run until the scheduler knows what continues from the first."""
    with worker_client(separate_thread=False) as client:
        while names(segment) == ("10", "1") and not client.run_on_scheduler(knows_what_follows):
            time.sleep(0.01)
    return names(segment)


def test_points_are_finished_before_others_are_begun(client):
    grid = tuple(Point(f"{a}{b}", {"a": a, "b": b}) for a in range(6) for b in range(2))
    segments = share(grid, {"1": {"a"}, "2": {"b"}})
    order = [result for _, result in run_tree(client, segments, names_once_others_wait)]
    begun = [point for point, stage in order if stage == "1"]
    assert begun[:2] == ["00", "10"]
    assert order.index(("00", "2")) < order.index((begun[-1], "1"))


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
