import os
import time
import warnings

import dask
import pytest
from distributed import Client, LocalCluster

from kopt.execution.engine import outcome_of
from leankeras.searching import DaskPool


def shared():
    return 10


def add(materials, number):
    if number == 2:
        os._exit(1)  # as when memory runs out
    time.sleep(0.01)
    return materials + number


@pytest.fixture
def pool():
    settings = {"distributed.scheduler.allowed-failures": 0, "logging.distributed": "critical"}
    with dask.config.set(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        )
        with cluster, Client(cluster) as client:
            yield DaskPool(client, shared, outcome_of)


def test_a_lost_worker_costs_its_trial_only(pool):
    items = [(number,) for number in range(5)]
    results = {position: result for position, result, _ in pool.each(add, items, lambda: True)}
    assert "every worker that tried this died" in str(results.pop(2))
    assert results == {0: 10, 1: 11, 3: 13, 4: 14}
    assert pool.alone(add, 5) == 15
    assert list(pool.each(add, items, lambda: False)) == []
