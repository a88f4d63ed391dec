"""What a Keras mask does to a layer, and so what it may do to the layer's rewrite.

A program has no mask. That is right for a layer that ignores masks or passes them on. Of a layer
that computes something else where a mask is attached to its input, only the call without one is
rewritten, and the new layer rejects a mask.
"""

import inspect
from collections.abc import Sequence

import keras

from leankeras.errors import RewriteError
from leankeras.graph import flat_layers
from leankeras.rewriting.node import Node
from leankeras.rewriting.program import IGNORED, PASSED_ON, REJECTED
from leankeras.rewriting.tracing import Trace


def fate_of_masks(trace: Trace, outputs: Sequence[Node]) -> str:
    """What becomes of a mask.

    Args:
        trace: of the layer.
        outputs: of the layer, traced without masks.
    """
    layer = trace.callee.layer
    if type(layer).compute_mask is not keras.Layer.compute_mask:
        return REJECTED
    if any(_may_use_mask(each) for each in flat_layers(layer)):
        try:
            used = trace.outputs(masked=True) != list(outputs)
        except RewriteError:
            used = True
        if used:
            return REJECTED
    return PASSED_ON if layer.supports_masking else IGNORED


def fate_in(layer: keras.Layer) -> str:
    """What becomes of a mask in one of Keras's own layers: "rejected" stands for used."""
    if any(_may_use_mask(each) for each in flat_layers(layer)):
        return REJECTED
    return PASSED_ON if layer.supports_masking else IGNORED


def _may_use_mask(layer: keras.Layer) -> bool:
    return any(name.endswith("mask") for name in inspect.signature(layer.call).parameters)
