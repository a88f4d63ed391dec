"""Running the segments of a sweep on a cluster, each as soon as its predecessor has finished."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any
from uuid import uuid4

from distributed import Client, Future, KilledWorker, as_completed

from kopt.errors import ClusterError
from kopt.execution.tree import Segment


def run_tree(
    client: Client, segments: list[Segment], task: Callable[[Segment], Any]
) -> Iterator[tuple[Segment, Any]]:
    """Run every segment once, each after the one it continues from.

    Followers of a segment are submitted here once it has finished, not as dependencies in Dask: if
    the worker holding a result were lost, Dask would run that finished segment again while others
    already work in its directory. Continuing a point has priority over starting another, so that
    points finish early. If a worker is lost, Dask runs its current segment again.

    Args:
        client: the client of the cluster.
        segments: the result of :func:`kopt.execution.tree.share`.
        task: what a worker does with a segment; it must tolerate being run again.

    Yields:
        A segment and the result of its task, or the exception it raised; followers of a failed
        segment are not run.

    Raises:
        ClusterError: the scheduler was lost.
    """
    following: dict[tuple, list[Segment]] = defaultdict(list)
    for segment in segments:
        following[segment.origin, segment.before].append(segment)
    running = as_completed(loop=client.loop)
    segment_of: dict[str, Segment] = {}
    sweep = uuid4().hex[:8]

    def submit(ready: list[Segment]) -> None:
        for segment in ready:
            future = client.submit(
                task,
                segment,
                key=f"{segment.stages[0]}-{segment.point}-{sweep}",
                priority=len(segment.before),
                pure=False,
            )
            segment_of[future.key] = segment
            running.add(future)

    submit(following[None, ()])
    for future in running:
        segment = segment_of.pop(future.key)
        outcome = outcome_of(future)
        yield segment, outcome
        if not isinstance(outcome, Exception):
            submit(following[segment.point, segment.before + segment.stages])


def outcome_of(future: Future) -> Any:
    """The result of a task, or the exception it raised; waits for it.

    Raises:
        ClusterError: the scheduler was lost.
    """
    try:
        error = future.exception()
    except CancelledError as lost:
        raise ClusterError(
            "the scheduler was lost; start it again and continue with --resume"
        ) from lost
    if isinstance(error, KilledWorker):
        return ClusterError(
            "every worker that tried this died; give each one more memory (fewer --workers)"
        )
    return future.result() if error is None else error
