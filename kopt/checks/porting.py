"""The exercise of carrying a layer's weights over to its rewrite."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kopt.checks.check import Check, no_question, not_answered, not_yet, right
from leankeras.equivalence import check_equivalence, kept, perturb
from leankeras.errors import EquivalenceError, one_line
from leankeras.rewriting import Rewrite


def port(answer: Any, slow_layers: Sequence[keras.Layer], rewrites: Sequence[Rewrite]) -> Check:
    """Whether a learner's port makes the last rewrite the same function as the slow layer.

    Args:
        answer: a function ``port(old, new)`` that sets the new layer's weights from the old's.
        slow_layers: the built slow layers; the first is tried, and left unchanged.
        rewrites: the case's rewrites; the last is tried, and its own ``port`` is ignored.

    Example:
        >>> port(lambda old, new: new.set_weights(old.get_weights()), [slow], rewrites)
        right: outputs and gradients agree on 10 kinds of input
    """
    if not rewrites or not slow_layers:
        return no_question("this case has no hand-written rewrite")
    old = slow_layers[0]
    new = rewrites[-1].make(old)
    if not new.built:
        new.build(old.input.shape)
    fresh = new.get_weights()
    shapes = f"old has arrays of shapes {_shapes(old.get_weights())}, new takes {_shapes(fresh)}"
    task = f"write the body of port(old, new), ending in new.set_weights([...]); {shapes}"
    if answer is ...:
        return not_answered(task)
    if not callable(answer):
        return not_yet(f"saw {answer!r:.60}; expected a function port(old, new)")
    with kept(old):
        perturb(old)  # a weight that is zero would not show whether it was carried over
        given = [weight.numpy().copy() for weight in old.weights]
        try:
            answer(old, new)
        except Exception as error:  # the hint explains whatever the learner's function raises
            return not_yet(f"{one_line(error)}; {shapes}")
        if not all(map(np.array_equal, given, old.get_weights())):
            return not_yet("it changes the old layer; port(old, new) should set the weights of new")
    unset = [
        weight.name
        for weight, before in zip(new.weights, fresh, strict=True)
        if np.array_equal(weight.numpy(), before)
    ]
    if len(unset) == len(fresh):
        return not_answered(task)
    if unset:
        return not_yet(f"{', '.join(unset)} of new was never set; nothing may be left out")
    try:
        result = check_equivalence(old, new, old.input.shape[1:], port=answer)
    except EquivalenceError as error:
        return not_yet(str(error))
    if result.equivalent:
        return right(result.reason)
    if result.verdict == "cannot tell":
        return no_question(f"this layer cannot be checked on made-up inputs: {result.reason}")
    return not_yet(
        f"the shapes fit, but {result.reason}; are the axes and the joined parts in the order that "
        "new expects?"
    )


def _shapes(arrays: list[np.ndarray]) -> str:
    return ", ".join(str(array.shape) for array in arrays)
