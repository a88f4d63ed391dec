"""The workers of a Dask cluster, which do the work of a search."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distributed import Client, Future, as_completed

from leankeras.searching.chain import Materials


class DaskPool:
    """The workers of a cluster as a :class:`leankeras.searching.rounds.Pool`.

    Args:
        client: the client of the cluster.
        materials: gives what all trials share; called on the workers.
        outcome_of: waits for a future and returns its result, or the exception it ended with.
    """

    def __init__(
        self,
        client: Client,
        materials: Callable[[], Materials],
        outcome_of: Callable[[Future], Any],
    ) -> None:
        self.client, self._materials, self._outcome_of = client, materials, outcome_of

    def each(
        self, task: Callable, items: Sequence[tuple], goes_on: Callable[[], bool]
    ) -> Iterator[tuple[int, Any, float]]:
        """See :class:`leankeras.searching.rounds.Pool`."""
        waiting = list(enumerate(items))[::-1]
        begun: dict[str, tuple[int, float]] = {}
        running = as_completed(loop=self.client.loop)

        def start() -> None:
            position, item = waiting.pop()
            future = self.client.submit(work, self._materials, task, *item, pure=False)
            begun[future.key] = position, time.monotonic()
            running.add(future)

        for _ in range(min(len(waiting), len(self.client.nthreads()))):
            if goes_on():
                start()
        for future in running:
            position, started = begun.pop(future.key)
            outcome = self._outcome_of(future)
            if isinstance(outcome, Exception):
                yield position, outcome, time.monotonic() - started
            else:
                yield position, *outcome
            if waiting and goes_on():
                start()

    def alone(self, task: Callable, *arguments: Any) -> Any:
        """See :class:`leankeras.searching.rounds.Pool`."""
        future = self.client.submit(
            work,
            self._materials,
            task,
            *arguments,
            workers=[sorted(self.client.nthreads())[0]],
            allow_other_workers=True,  # in case this one is lost
            pure=False,
        )
        outcome = self._outcome_of(future)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome[0]


def work(materials: Callable[[], Materials], task: Callable, *arguments: Any) -> tuple[Any, float]:
    """What a worker does: a task on what all trials share. Returns the seconds it took, too."""
    shared, started = materials(), time.monotonic()
    return task(shared, *arguments), time.monotonic() - started
