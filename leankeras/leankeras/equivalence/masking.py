"""Keras masks: how a layer treats steps that Embedding or Masking have marked as padding.

A mask is attached to a tensor and is not an input, so no probe holds one. If a mask changes the
reference's outputs, the candidate must give the same outputs with it; the same goes for an argument
of ``call`` such as ``attention_mask``.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.equivalence.calling import Callee, as_arrays
from leankeras.equivalence.pair import Pair
from leankeras.equivalence.roles import INDICES, MASK, NUMBERS, Role
from leankeras.equivalence.tolerance import FAILS, Distance, apart, changes
from leankeras.equivalence.trials import Trial, Trials
from leankeras.equivalence.values import draw
from leankeras.equivalence.verdict import Row
from leankeras.errors import EquivalenceError
from leankeras.graph import flat_layers, mask_of, with_mask

ATTACHED = "Keras mask"

Call = Callable[[Callee, list[Any]], list[Any]]


def compare_masked(
    pair: Pair, trials: Trials, trial: Trial, roles: list[Role]
) -> tuple[list[Row], list[str]]:
    """Compare two layers on inputs that carry masks, if the reference uses them.

    Args:
        pair: both built, the candidate ported.
        trials: trials of the reference.
        trial: the trial on the usual batch, to which the masks are added.
        roles: the roles of the inputs.

    Returns:
        The comparisons, and descriptions of what was left out.
    """
    reference, candidate = pair.reference, pair.candidate
    rows, left_out = [], []
    for name, call in _ways(reference, roles, len(trial.probe.arrays[0])):
        tensors = [tf.convert_to_tensor(array) for array in trial.probe.arrays]
        try:
            outputs = call(reference, tensors)
        except EquivalenceError:
            continue  # it takes another kind of mask
        expected = as_arrays(outputs)
        if not trial.tells_apart(expected):
            continue
        with trials.rounded(0) as nudge:
            nudged = [tf.convert_to_tensor(array) for array in nudge(trial.probe.arrays)]
            moved = as_arrays(call(reference, nudged))
        rounding = [changes(*pair) for pair in zip(expected, moved, strict=True)]
        tolerances = trials.tolerances(trial.probe, expected, rounding)
        try:
            seen = call(candidate, tensors)
        except EquivalenceError as error:
            if name.startswith(ATTACHED):
                rows.append(Row(name, "output", FAILS))
            else:
                left_out.append(f"the argument {name}: {error}")
            continue
        for wanted, given, tolerance in zip(expected, as_arrays(seen), tolerances, strict=True):
            rows.append(Row(name, "output", apart(wanted, given, tolerance)))
        for wanted, given in zip(outputs, seen, strict=True):
            rows += [Row(name, "mask of output", gap) for gap in _mask_gap(wanted, given)]
    return rows, left_out


def _ways(reference: Callee, roles: list[Role], batch: int) -> Iterator[tuple[str, Call]]:
    steps = [_steps(role) for role in roles]
    parameters = {
        name: parameter.default
        for layer in flat_layers(reference.layer)
        for name, parameter in inspect.signature(layer.call).parameters.items()
        if name.endswith("mask")
    }
    if not parameters or not any(steps):
        return
    rng = np.random.default_rng(4)

    def mask(kind: str, *shape: int) -> Any:
        role = Role("mask", MASK, shape, np.dtype(bool))
        return tf.convert_to_tensor(draw(role, kind, batch, rng))

    for kind, name in (("padded", ATTACHED), ("random", f"{ATTACHED} with holes")):
        masks = [mask(kind, count) if count else None for count in steps]
        yield name, partial(_attached, masks)
    own = inspect.signature(reference.layer.call).parameters
    count = next(filter(None, steps))
    for name in parameters:
        if name == "mask" or name not in own or own[name].default is not None:
            continue
        for shape in ((count, count), (count,)):
            yield name, partial(_passed, {name: mask("random", *shape)})


def _attached(masks: list[Any], callee: Callee, tensors: list[Any]) -> list[Any]:
    pairs = zip(tensors, masks, strict=True)
    return callee([each if one is None else with_mask(each, one) for each, one in pairs])


def _passed(masks: dict[str, Any], callee: Callee, tensors: list[Any]) -> list[Any]:
    return callee(tensors, **masks)


def _steps(role: Role) -> int | None:
    # Keras masks tensors of shape (batch, time, ...), or token ids (batch, time).
    ranks = {NUMBERS: 2, INDICES: 1}
    fits = role.kind in ranks and len(role.shape) >= ranks[role.kind]
    return role.shape[0] if fits and role.shape[0] > 1 else None


def _mask_gap(wanted: Any, given: Any) -> list[Distance]:
    mask, other = mask_of(wanted), mask_of(given)
    if mask is None:
        return []
    if other is None or mask.shape != other.shape:
        return [FAILS]
    return [apart(keras.ops.convert_to_numpy(mask), keras.ops.convert_to_numpy(other), 0.0)]
