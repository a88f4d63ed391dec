"""What a rewrite would merge, told without converting, timing or proving anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from leankeras.equivalence import kept
from leankeras.rewriting.batch import batch_sizes
from leankeras.rewriting.drafts import check_training
from leankeras.rewriting.node import DATA, Node, cost, in_order
from leankeras.rewriting.optimization import optimize
from leankeras.rewriting.passes import Journal, Layout
from leankeras.rewriting.rewriting import settled
from leankeras.rewriting.tracing import Trace

Places = frozenset[tuple[str, int]]


@dataclass(frozen=True)
class Forecast:
    """What :func:`forecast` found.

    Attributes:
        before: for each operation that depends on the input, the ``(file, line)`` of the calls
            that make it.
        after: the same once everything that can be merged is; like ``before`` if nothing is saved.
        obstacles: what cannot be merged: its lines, and why not; most turns first.
    """

    before: tuple[Places, ...]
    after: tuple[Places, ...]
    obstacles: tuple[tuple[Places, str], ...]


def forecast(layer: keras.Layer, input_shape: Any = None) -> Forecast:
    """Tell what :func:`leankeras.rewrite` would merge in a layer, in a few seconds.

    The layer is traced and merged in one way only. Whether the result is faster is not known
    before it is measured, nor whether it can be proved.

    Args:
        layer: a layer of your own, not a model.
        input_shape: the shape of one sample, as ``rewrite`` takes it.

    Raises:
        RewriteError: the layer cannot be rewritten at all.

    Example:
        >>> seen = forecast(CustomConv(64, 5), (128, 6))
        >>> len(seen.before), len(seen.after)
        (131, 4)
    """
    callee, arrays = settled(layer, input_shape)
    shapes = [array.shape[1:] for array in arrays] + [each.shape for each in layer.variables]
    journal = Journal()
    with kept(layer):
        trace = Trace(callee, arrays, batch_sizes(shapes)[0])
        before = trace.outputs()
        check_training(trace, before)
        after = optimize(trace.graph, before, Layout(), journal)
    batch = trace.graph.batch
    if cost(after, batch) > cost(before, batch) - 0.5:
        after = before
    failures = sorted(journal.failed, key=lambda failure: -failure[0])
    return Forecast(
        _places(before),
        _places(after),
        tuple((frozenset().union(*_places([node])), str(why)) for _, node, why in failures),
    )


def _places(outputs: Sequence[Node]) -> tuple[Places, ...]:
    return tuple(
        frozenset((frame.filename, frame.lineno) for frame in getattr(node.origin, "traceback", ()))
        for node in in_order(outputs)
        if node.depends == DATA and node.op != "input"
    )
