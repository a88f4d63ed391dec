"""What a rewrite would merge, told without converting, timing or proving anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from leankeras.equivalence import kept
from leankeras.rewriting.drafts import Drafts
from leankeras.rewriting.node import DATA, Node, in_order
from leankeras.rewriting.settling import settled

Places = frozenset[tuple[str, int]]
MOST_OBSTACLES = 20


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

    The layer is traced and merged as ``rewrite`` does it, in one way only. Whether the result is
    faster is not known before it is measured, nor whether it can be proved.

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
    with kept(layer):
        drafts = Drafts(callee, arrays)
        merged = next(drafts.merged(), None)
    before = drafts.outputs
    after = before if merged is None else merged.outputs
    return Forecast(
        _places(before),
        _places(after),
        tuple(
            (frozenset().union(*_places([failure.node])), str(failure.explained()))
            for failure in drafts.journal.failures()[:MOST_OBSTACLES]
        ),
    )


def _places(outputs: Sequence[Node]) -> tuple[Places, ...]:
    return tuple(
        frozenset(
            (frame.filename, frame.lineno)
            for frame in getattr(node.origin, "traceback", None) or ()  # none in the body of a loop
        )
        for node in in_order(outputs)
        if node.depends == DATA and node.op != "input"
    )
