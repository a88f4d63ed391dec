"""What was merged, in words, with the lines of the old layer that it came from."""

import keras

from leankeras.rewriting.drafts import Draft
from leankeras.rewriting.node import Node, in_order
from leankeras.rewriting.stock import Stock
from leankeras.rewriting.tracing import source_line

# What a turn of a loop mainly does, the first of these that is in it.
WORDS = {
    "convolution": "convolution", "depthwise": "depthwise convolution", "product": "product",
    "kept": "operation", "softmax": "softmax", "cumsum": "running sum", "argmax": "argmax",
    "reduce": "reduction", "elementwise": "elementwise operation", "gather": "gather",
}  # fmt: skip
MOST_STEPS = 12


def steps_in_words(draft: Draft, layer: keras.Layer) -> tuple[str, ...]:
    """One line for each place of the old source where something was merged."""
    found: dict[str, str] = {}
    for count, first, whole in draft.journal.merged:
        place = _place(first, layer)
        found.setdefault(place, f"{count} turns of {place} became one {_essence(first, whole)}")
    steps = list(found.values())[:MOST_STEPS]
    if isinstance(draft.made, Stock):
        steps.append(f"together they are keras.layers.{draft.made.kind}")
    return tuple(steps)


def _place(node: Node, layer: keras.Layer) -> str:
    """The line that a node comes from; where a pass has made it, that of what it takes."""
    for each in reversed(in_order([node])):
        place = source_line(each.origin, type(layer))
        if place:
            return place
    return "the layer's call"


def _essence(first: Node, whole: Node) -> str:
    """What was merged: of all that is new in the merged node, what takes the most time."""
    new = {each.op for each in in_order([whole]) if each.number > first.number}
    return next((word for op, word in WORDS.items() if op in new), "reduction")
