"""Locust against a real server; no figure is compared with a time."""

import json
import sys

import numpy as np
import pytest

from leankeras.errors import DataError, ParameterError
from leankeras.serving import (
    Serving,
    compare_servings,
    hash_seconds,
    load_test,
    open_engine,
    rising_load,
)
from leankeras.serving.engine import Tensor
from leankeras.serving.load import file_batch

SHORT = {"seconds": 0.6, "warm_up": 0.2}


@pytest.mark.parametrize("loop", [{"users": 4}, {"rate": 40}], ids=["closed", "open"])
def test_every_answer_is_the_files_own(batching_server, dense_samples, loop):
    row = load_test(batching_server, dense_samples[:20], **loop, **SHORT)
    assert row.answered > 0
    assert row.offered > 0
    assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms
    assert row.late_ms >= 0
    assert (row.wrong, row.failed) == (0, 0)
    assert not {"gevent", "locust"} & set(sys.modules)


def test_a_wrong_answer_is_counted(batching_server, dense_samples, monkeypatch):
    engine = batching_server.engine
    monkeypatch.setattr(
        batching_server, "engine", lambda batch: {"output": engine(batch)["output"] + 1}
    )
    batching_server.engine.inputs = engine.inputs
    row = load_test(batching_server, dense_samples[:3], users=1, **SHORT)
    assert row.wrong > 0


def test_uneven_traffic_repeats_itself(batching_server):
    pool = np.random.default_rng(0).standard_normal((5000, 5)).astype(np.float32)
    more = {"users": 2, "check": False, **SHORT}
    even = load_test(batching_server, pool, **more)
    uneven = load_test(batching_server, pool, zipf=2.0, **more)
    assert even.repeats == 0
    assert uneven.repeats > 0.5


def test_a_page_without_work_shows_what_the_generator_can_do(batching_server):
    assert load_test(batching_server, users=2, **SHORT).failed == 0


def test_ways_to_serve_and_rates_are_compared(dense_file, batching_server, dense_samples):
    table = compare_servings(dense_file, dense_samples, {"one": Serving()}, users=2, **SHORT)
    assert list(table.index) == ["one"]
    curve = rising_load(batching_server, dense_samples[:20], [30, 10], **SHORT)
    assert curve.index[0] == 10
    assert (curve.wrong == 0).all()


def test_the_hash_of_a_request_takes_time(dense_file, dense_samples):
    assert hash_seconds(open_engine(dense_file), dense_samples) > 0


def test_users_or_a_rate_are_needed(batching_server, dense_samples):
    for loop in ({}, {"users": 1, "rate": 1}):
        with pytest.raises(ParameterError, match="expected one of them"):
            load_test(batching_server, dense_samples, **loop)
    with pytest.raises(DataError, match="the inputs are"):
        load_test(batching_server, {"other": dense_samples}, users=1)


def test_samples_become_the_files_own_type():
    tensor = Tensor("x", "int8", (2,), scale=0.5, zero_point=3)
    batch = file_batch([tensor], np.array([[1.0, -1.0], [1000, 0]], np.float32))
    assert batch["x"].tolist() == [[5, 1], [127, 3]]
    assert json.dumps(batch["x"].tolist())
