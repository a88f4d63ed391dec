"""Waiting and running together, on an event loop of the test's own."""

import asyncio

import numpy as np
import pytest

from leankeras.errors import DataError, ModelError
from leankeras.serving import batcher
from leankeras.serving.batcher import Batcher, OverloadError, WorkerDiedError


def sample(value, count=1):
    return {"x": np.full((count, 2), value, np.float32)}


class Runs:
    """Doubles its input, and remembers what it was given."""

    def __init__(self, refuses=(), kills=()):
        self.batches, self.refuses, self.kills = [], refuses, kills

    def __call__(self, batch):
        values = [float(row[0]) for row in batch["x"]]
        self.batches.append(values)
        if set(values) & set(self.refuses):
            raise RuntimeError("gather index out of bounds")
        if set(values) & set(self.kills):
            raise WorkerDiedError("killed")
        return {"y": 2 * batch["x"]}


def ask(run, requests, batch_size=4, seconds=0.0, recover=None):
    """The answers or errors of requests that come all at once."""

    async def main():
        waiting = Batcher(batch_size, seconds)
        answers = [asyncio.create_task(waiting.submit(request)) for request in requests]
        await asyncio.sleep(0)  # all of them wait before anybody works
        working = asyncio.create_task(waiting.work(run, recover=recover))
        done = await asyncio.gather(*answers, return_exceptions=True)
        working.cancel()
        return done

    return asyncio.run(main())


def test_what_waits_is_run_together_and_everybody_gets_their_own_answer():
    run = Runs()
    answers = ask(run, [sample(k) for k in range(6)])
    assert run.batches == [[0, 1, 2, 3], [4, 5]]
    assert [float(each["y"][0, 0]) for each in answers] == [0, 2, 4, 6, 8, 10]


def test_requests_of_several_samples_stay_whole():
    run = Runs()
    answers = ask(run, [sample(1, 3), sample(2, 3), sample(3, 9)])
    assert run.batches == [[1] * 3, [2] * 3, [3] * 9]
    assert [len(each["y"]) for each in answers] == [3, 3, 9]


def test_a_full_batch_does_not_wait():
    run = Runs()
    ask(run, [sample(k) for k in range(4)], seconds=10**6)
    assert run.batches == [[0, 1, 2, 3]]


def test_a_request_that_cannot_be_run_fails_alone():
    answers = ask(Runs(refuses=[2]), [sample(k) for k in range(4)])
    assert [float(answers[k]["y"][0, 0]) for k in (0, 1, 3)] == [0, 2, 6]
    assert isinstance(answers[2], DataError)
    assert "gather index out of bounds" in str(answers[2])


def test_with_a_worker_its_batch_is_lost_and_no_other():
    recovered = []
    run = Runs(kills=[1])
    answers = ask(run, [sample(k) for k in range(6)], recover=lambda: recovered.append(True))
    assert [type(each) for each in answers[:4]] == [WorkerDiedError] * 4
    assert [float(each["y"][0, 0]) for each in answers[4:]] == [8, 10]
    assert recovered == [True]


def test_a_worker_that_does_not_start_is_tried_again(monkeypatch):
    monkeypatch.setattr(batcher, "PATIENCE", 0.0)
    monkeypatch.setattr(Batcher, "_in_time", lambda self, requests: requests)
    tried = []

    def recover():
        tried.append(True)
        if len(tried) < 3:
            raise ModelError("no memory")

    answers = ask(Runs(kills=[1]), [sample(k) for k in range(6)], recover=recover)
    assert len(tried) == 3
    assert [float(each["y"][0, 0]) for each in answers[4:]] == [8, 10]


def test_who_waits_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(batcher, "PATIENCE", -1.0)
    run = Runs()
    (answer,) = ask(run, [sample(1)])
    assert isinstance(answer, OverloadError)
    assert run.batches == []


def test_nobody_is_answered_who_has_gone():
    async def main():
        waiting, run = Batcher(4), Runs()
        gone, there = (asyncio.create_task(waiting.submit(sample(k))) for k in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        working = asyncio.create_task(waiting.work(run))
        await there
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return run.batches

    assert asyncio.run(main()) == [[2]]
