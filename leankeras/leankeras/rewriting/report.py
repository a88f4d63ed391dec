"""What was merged, in words, with the lines of the old layer that it came from."""

import keras

from leankeras.rewriting.drafts import Draft
from leankeras.rewriting.node import Node
from leankeras.rewriting.stock import Stock
from leankeras.rewriting.tracing import source_line

WORDS = {
    "convolution": "convolution", "depthwise": "depthwise convolution", "product": "product",
    "elementwise": "elementwise operation", "reduce": "reduction", "softmax": "softmax",
    "reshape": "tensor", "transpose": "tensor", "slice": "tensor", "gather": "gather",
    "concatenate": "tensor", "cumsum": "running sum", "argmax": "argmax", "pool": "pooling",
    "broadcast": "tensor",
}  # fmt: skip
MOST_STEPS = 12


def steps_in_words(draft: Draft, layer: keras.Layer) -> tuple[str, ...]:
    """One line for each place of the old source where something was merged."""
    found: dict[str, str] = {}
    for count, first, whole in draft.journal.merged:
        place = source_line(first.origin, type(layer)) or "the layer's call"
        found.setdefault(place, f"{count} turns of {place} became one {_essence(whole)}")
    steps = list(found.values())[:MOST_STEPS]
    if isinstance(draft.made, Stock):
        steps.append(f"together they are keras.layers.{draft.made.kind}")
    return tuple(steps)


def _essence(node: Node) -> str:
    """What a merged node does, without what only moves numbers about."""
    while node.op in ("reshape", "transpose", "slice", "pick", "item") and node.inputs[0].inputs:
        node = node.inputs[0]
    return WORDS.get(node.op, node.op)
