"""Check whether a rewritten layer computes the same function as the layer it replaces.

The reference's weights are perturbed (:mod:`leankeras.equivalence.perturbation`) and ported to the
candidate; both are called on inputs of every kind (:mod:`.probes`) that make sense for the role of
each input (:mod:`.roles`). :mod:`.tolerance` defines equality, and :mod:`.blindness` finds what
all this did not test.
"""

from typing import Any

import keras
import numpy as np
import pandas as pd

from leankeras.equivalence.blindness import Sight
from leankeras.equivalence.calling import Arrays, Callee
from leankeras.equivalence.gradients import compare_gradients, gradients, rounded_gradients
from leankeras.equivalence.integers import WHOLE_NUMBERS, compare_whole_numbers
from leankeras.equivalence.masking import compare_masked
from leankeras.equivalence.outputs import compare_outputs, compare_training, make_steady
from leankeras.equivalence.pair import Pair, Port
from leankeras.equivalence.perturbation import kept, perturb
from leankeras.equivalence.probes import make_probes, positive_probe, within_reach
from leankeras.equivalence.roles import find_roles, input_names
from leankeras.equivalence.shapes import check_samples, check_shape, flat_shapes
from leankeras.equivalence.tolerance import is_float
from leankeras.equivalence.trials import Trials
from leankeras.equivalence.usage import Usage, unread_weights, usages
from leankeras.equivalence.verdict import DIFFERENT, Equivalence, conclude
from leankeras.errors import EquivalenceError


def check_equivalence(
    reference: keras.Layer,
    candidate: keras.Layer,
    input_shape: Any,
    port: Port | None = None,
    samples: Any = None,
) -> Equivalence:
    """Check whether ``candidate`` computes the same as ``reference``, with the same weights.

    Outputs are compared in inference mode, with Keras masks if the reference uses them, and in
    training mode if the reference is not random there; gradients are compared with respect to
    inputs and weights, if the reference has them. Weight gradients are compared through ``port``:
    moving one weight of the reference and porting it must change the loss at the same rate. Both
    objects are built if necessary and keep their original weights. The random numbers are seeded.

    An input that looks like a mask, indices, lengths, an adjacency or boxes, judging by its name,
    its data type or its use in the reference, gets such values. The verdict is "equivalent" only
    if each weight and each input has been shown to matter, or to matter nowhere.

    Args:
        reference: the layer or model that is right.
        candidate: the layer or model that should do the same.
        input_shape: shape of one sample, without the batch, such as ``(128, 6)``; a list or a
            dict of shapes if the layer takes several inputs, in a list or dict or as separate
            arguments.
        port: ``port(reference, candidate)`` sets the candidate's weights from the reference's.
            Without it, weights are copied in order, which needs the same shapes on both sides.
        samples: your own inputs, shape ``(n, *input_shape)``, nested like ``input_shape``; tried
            in addition to the generated ones, which are modelled on them if they are whole
            numbers.

    Raises:
        EquivalenceError: nothing could be compared: one of them rejects an input, weights do not
            fit, ``port`` fails, or a layer is random at inference.

    Example:
        >>> slow, fast = CustomConv(64), keras.layers.Conv1D(64, 9)
        >>> leankeras.check_equivalence(slow, fast, (256, 16), port=stack_filters)
        equivalent: outputs and gradients agree on 10 kinds of input
    """
    for name, layer in (("reference", reference), ("candidate", candidate)):
        if not isinstance(layer, keras.Layer):
            raise EquivalenceError(
                f"{name} is a {type(layer).__name__}; expected an instance of keras.Layer or Model"
            )
    input_shape = check_shape(input_shape)
    shapes = flat_shapes(input_shape)
    samples = None if samples is None else check_samples(samples, shapes)
    callees = [
        Callee(name, layer, input_shape)
        for name, layer in (("reference", reference), ("candidate", candidate))
    ]
    pair = Pair(*callees, port)
    with kept(reference, candidate):  # for layers that are already built
        arrays, expected, seen = pair.settle(shapes, samples)
    described, wanted = _describe(seen), _describe(expected)
    if described != wanted:
        reason = f"candidate's outputs are {described}, those of the reference {wanted}"
        return Equivalence(DIFFERENT, float("inf"), reason, pd.DataFrame())
    with kept(reference, candidate):
        return _compare(pair, arrays, samples)


def _compare(pair: Pair, arrays: Arrays, samples: Arrays | None) -> Equivalence:
    reference, candidate = pair.reference, pair.candidate
    perturb(reference.layer)
    pair.try_port()
    batch, uses = len(arrays[0]), [_usages(callee, arrays) for callee in (reference, candidate)]
    shapes, dtypes = [each.shape[1:] for each in arrays], [each.dtype for each in arrays]
    names = input_names(reference, len(arrays))
    roles = within_reach(reference, find_roles(names, shapes, dtypes, *uses, samples), batch)
    probes = make_probes(roles, samples, batch)
    first, _ = (make_steady(callee, probes[0].arrays) for callee in (reference, candidate))
    if not all(np.isfinite(output).all() for output in first if is_float(output)):
        probes.insert(1, positive_probe(roles, batch))

    trials = Trials(reference)
    tried = trials.make(probes)
    usual = tried[0]
    slopes, rounded = gradients(reference, usual.probe.arrays), rounded_gradients(trials, usual)
    compared = [
        compare_masked(pair, trials, usual, roles),
        compare_training(pair, usual),
        compare_gradients(pair, trials, usual, roles, slopes, rounded),
    ]
    rows = compare_outputs(candidate, tried) + [row for part, _ in compared for row in part]
    rows += compare_whole_numbers(pair, roles, trials.relative, batch)

    blind_to: tuple[str, ...] = ()
    unread = unread_weights(reference.graph, reference.layer.weights) if reference.graph else []
    if all(row.distance.equal for row in rows):
        sight = Sight(trials, roles, _without(reference.layer.weights, unread), uses[0], batch)
        found = sight.look(tried, slopes, rounded)
        rows += compare_outputs(candidate, found)
        tried += found
        blind_to = sight.blind_to
    left_out = [role.domain for role in roles if role.domain]
    left_out += [words for _, part in compared for words in part]
    left_out += [f"the kind of input '{kind}': {error}" for kind, error in trials.rejected.items()]
    left_out += [f"`{weight.name}`, which no output depends on" for weight in unread]
    doubtful = {trial.probe.name for trial in tried if trial.probe.doubtful}
    if usual.probe.doubtful:
        doubtful.add(WHOLE_NUMBERS)
    return conclude(rows, doubtful, blind_to, left_out)


def _usages(callee: Callee, arrays: Arrays) -> list[Usage]:
    if callee.trace(arrays):
        return usages(callee.graph, callee.layer.weights)
    return [Usage() for _ in arrays]


def _without(weights: list[keras.Variable], others: list[keras.Variable]) -> list[keras.Variable]:
    left_out = {id(other) for other in others}
    return [weight for weight in weights if id(weight) not in left_out and is_float(weight)]


def _describe(outputs: Arrays) -> str:
    return ", ".join(f"{part.shape} {part.dtype}" for part in outputs)
