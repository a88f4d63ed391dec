"""Running the segments of a sweep on a cluster, each as soon as what it continues from is there."""

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
    """Run every segment once, those that continue from others after them.

    What continues from a segment is submitted here when that has finished, and is no dependency
    that Dask knows of: it would run a finished segment again when the worker that holds its result
    is lost, while others already work in its directory. The segments of one point come before
    those that begin another, so that points are finished early. A lost worker's segment is run
    again by Dask.

    Args:
        client: of the cluster.
        segments: as :func:`kopt.execution.tree.share` gives them.
        task: what a worker does with one; must survive being run again.

    Yields:
        A segment and what its task gave, or the exception that it raised; what continues from a
        segment that failed is not run.

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
    """A task's result or the exception it raised, once it is there.

    Raises:
        ClusterError: the scheduler was lost.
    """
    try:
        error = future.exception()
    except CancelledError as lost:
        raise ClusterError(
            "the scheduler was lost; start it again and go on with --resume"
        ) from lost
    if isinstance(error, KilledWorker):
        return ClusterError(
            "every worker that tried this died; give each more memory (fewer --workers)"
        )
    return future.result() if error is None else error
