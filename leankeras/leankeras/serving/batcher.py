"""Requests that wait are run together: dynamic batching, with an end to the waiting.

MLServer's own batcher is not used. In 1.7.1 one wrong request fails all others of its batch, its
queue has no limit, and batches are joined as Python lists, value by value.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from leankeras.errors import DataError, KoptError, one_line
from leankeras.serving.engine import Batch

PATIENCE = 1.0  # seconds that a request may wait before it is refused


class OverloadError(KoptError):
    """More requests wait than can be answered in time."""


class WorkerDiedError(KoptError):
    """The process that ran a batch is gone, and its answers with it."""


@dataclass(frozen=True)
class _Waiting:
    batch: Batch
    count: int
    since: float
    answer: asyncio.Future


class Batcher:
    """Joins requests to batches, first come, first served.

    Args:
        batch_size: the largest number of samples in a batch.
        batch_seconds: how long the first request of a batch waits for others.

    Example:
        >>> batcher = Batcher(batch_size=32, batch_seconds=0.002)
        >>> working = asyncio.create_task(batcher.work(engine))
        >>> answer = await batcher.submit({"x": sample})
    """

    def __init__(self, batch_size: int, batch_seconds: float = 0.0) -> None:
        self._batch_size, self._batch_seconds = batch_size, batch_seconds
        self._queue: deque[_Waiting] = deque()
        self._changed = asyncio.Event()
        self._gathering = asyncio.Lock()

    async def submit(self, batch: Batch) -> Batch:
        """The answer to one request.

        Raises:
            OverloadError: it has waited too long.
            DataError: the file cannot be run on this request.
            WorkerDiedError: the process that ran it has died.
        """
        loop = asyncio.get_running_loop()
        count = len(next(iter(batch.values())))
        waiting = _Waiting(batch, count, loop.time(), loop.create_future())
        self._queue.append(waiting)
        self._changed.set()
        return await waiting.answer

    async def work(
        self,
        run: Callable[[Batch], Batch],
        quick: bool = False,
        recover: Callable[[], None] | None = None,
    ) -> None:
        """Run batches for ever; there is one of these for each worker.

        Args:
            run: runs a batch.
            quick: whether that takes so little time that another thread would only delay it.
            recover: starts the worker again after it has died, and is called until it succeeds.
        """

        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1)

        async def answer(joined: Batch) -> Batch:
            return run(joined) if quick else await loop.run_in_executor(thread, run, joined)

        while True:
            async with self._gathering:
                requests = await self._gather()
            try:
                await _answer(requests, answer)
            except WorkerDiedError as error:
                _fail(requests, error)
                while recover and not await loop.run_in_executor(thread, _succeeds, recover):
                    await asyncio.sleep(PATIENCE)

    async def _gather(self) -> list[_Waiting]:
        while not self._queue:
            self._changed.clear()
            await self._changed.wait()
        deadline = self._queue[0].since + self._batch_seconds
        while self._batch_seconds and sum(each.count for each in self._queue) < self._batch_size:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                break
        taken, room = [self._queue.popleft()], self._batch_size
        room -= taken[0].count
        while self._queue and self._queue[0].count <= room:
            taken.append(self._queue.popleft())
            room -= taken[-1].count
        return self._in_time(taken)

    def _in_time(self, requests: list[_Waiting]) -> list[_Waiting]:
        """Those that somebody still waits for, and not for too long."""
        latest = asyncio.get_running_loop().time() - PATIENCE - self._batch_seconds
        late = [each for each in requests if each.since < latest]
        _fail(late, OverloadError(f"it has waited for {PATIENCE:g} s; try again later"))
        return [each for each in requests if not each.answer.done()]


async def _answer(requests: list[_Waiting], run: Callable[[Batch], Awaitable[Batch]]) -> None:
    if not requests:
        return
    names = requests[0].batch
    try:
        joined = {name: np.concatenate([each.batch[name] for each in requests]) for name in names}
        outputs = await run(joined)
    except WorkerDiedError:
        raise
    except Exception as error:  # whatever a runtime says of values that it cannot take
        if len(requests) == 1:
            _fail(requests, DataError(f"the file cannot be run on this: {one_line(error)}"))
        for each in requests if len(requests) > 1 else []:  # one of them is to blame
            await _answer([each], run)
        return
    start = 0
    for each in requests:
        end = start + each.count
        if not each.answer.done():
            each.answer.set_result({name: outputs[name][start:end] for name in outputs})
        start = end


def _succeeds(recover: Callable[[], None]) -> bool:
    try:
        recover()
    except KoptError as error:
        logging.getLogger("mlserver").error("a worker cannot be replaced yet: %s", error)
        return False
    return True


def _fail(requests: list[_Waiting], error: KoptError) -> None:
    for each in requests:
        if not each.answer.done():
            each.answer.set_exception(error)
