"""The exercise of carrying a layer's weights over to its rewrite."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kopt.checks.check import Check, no_question, not_answered, not_yet, right
from kopt.errors import EquivalenceError
from kopt.measurement.equivalence import check_equivalence
from kopt.measurement.weights import kept, perturb
from kopt.measurement.wording import one_line
from kopt.rewriting import Rewrite


def port(answer: Any, slow_layers: Sequence[keras.Layer], rewrite: Rewrite | None) -> Check:
    """Whether a learner's port makes a rewrite the same function as the slow layer.

    Args:
        answer: a function ``port(old, new)`` that sets the new layer's weights from the old's.
        slow_layers: the built slow layers; the first is tried, and left as it is.
        rewrite: what is to take its place; its own ``port`` is not looked at. None where the case
            has no rewrite.

    Example:
        >>> port(lambda old, new: new.set_weights(old.get_weights()), [slow], rewrite)
        right: outputs and gradients agree on 9 kinds of input
    """
    if rewrite is None or not slow_layers:
        return no_question("this case has no rewrite")
    task = "write the body of port(old, new): it ends with new.set_weights([...])"
    if answer is ...:
        return not_answered(task)
    if not callable(answer):
        return not_yet(f"saw {answer!r:.60}; expected a function port(old, new)")
    old = slow_layers[0]
    new = rewrite.make(old)
    if not new.built:
        new.build(old.input.shape)
    fresh = new.get_weights()
    with kept(old):
        perturb(old)  # a weight that is zero would not show whether it was carried over
        given = [weight.numpy().copy() for weight in old.weights]
        try:
            answer(old, new)
        except Exception as error:  # what a learner's function raises is the hint's to explain
            return not_yet(
                f"{type(error).__name__}: {one_line(error)}; old has arrays of shapes "
                f"{_shapes(given)}, new takes {_shapes(fresh)}"
            )
        if not all(map(np.array_equal, given, old.get_weights())):
            return not_yet("it changes the old layer; port(old, new) is to set the weights of new")
    unset = [
        weight.name
        for weight, before in zip(new.weights, fresh, strict=True)
        if np.array_equal(weight.numpy(), before)
    ]
    if len(unset) == len(fresh):
        return not_answered(task)
    if unset:
        return not_yet(f"{', '.join(unset)} of new is as it was made; nothing may be left out")
    try:
        result = check_equivalence(old, new, old.input.shape[1:], port=answer)
    except EquivalenceError as error:
        return not_yet(str(error))
    if result.equivalent:
        return right(result.reason)
    return not_yet(
        f"the shapes fit, but {result.reason}; are the axes, and the parts that are joined, in the "
        "order in which new expects them?"
    )


def _shapes(arrays: list[np.ndarray]) -> str:
    return ", ".join(str(array.shape) for array in arrays)
