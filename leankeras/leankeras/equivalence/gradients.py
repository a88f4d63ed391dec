"""Comparison of two layers' gradients with respect to inputs and weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from leankeras.equivalence.calling import Callee
from leankeras.equivalence.pair import Pair
from leankeras.equivalence.perturbation import Values, read, write
from leankeras.equivalence.roles import DISCRETE, Role
from leankeras.equivalence.tolerance import (
    RELATIVE_FLOOR,
    ROUNDING_MARGIN,
    Distance,
    apart,
    gradient_tolerance,
    is_float,
    rms,
)
from leankeras.equivalence.trials import Trial, Trials
from leankeras.equivalence.verdict import Row

Gradient = np.ndarray | None


@dataclass(frozen=True)
class Gradients:
    """Gradients of a fixed random combination of a layer's outputs; None if there is none.

    Args:
        inputs: one for each input.
        weights: one for each weight of the layer, trainable or not, in order.
    """

    inputs: list[Gradient]
    weights: list[Gradient]


@dataclass(frozen=True)
class Slope:
    """The change of both losses as one weight of the reference moves and is ported.

    Args:
        weight: its path.
        linear: whether the port is linear in it; otherwise the slopes mean nothing.
        expected: slope of the reference.
        seen: slope of the candidate.
        scale: the size of a slope of unrelated gradients.
        rounding: how far the reference's own slope moves when it is rounded differently.
    """

    weight: str
    linear: bool
    expected: float
    seen: float
    scale: float
    rounding: float


def gradients(callee: Callee, arrays: Sequence[np.ndarray]) -> Gradients:
    """The gradients of a built layer in inference mode, on a batch."""
    tensors = [tf.convert_to_tensor(array) for array in arrays]
    weights = [weight.value for weight in callee.layer.weights]
    rng = np.random.default_rng(0)
    with tf.GradientTape() as tape:
        tape.watch([each for each in [*tensors, *weights] if each.dtype.is_floating])
        loss = tf.constant(0.0)
        for output in callee(tensors):
            direction = rng.normal(size=output.shape).astype("float32")
            if output.dtype.is_floating:
                loss += tf.reduce_sum(tf.cast(output, "float32") * direction)
    try:
        found = tape.gradient(loss, tensors + weights)
    except LookupError:  # it contains an operation without a gradient
        found = [None] * len(tensors + weights)
    dense = [None if one is None else _as_array(one) for one in found]
    return Gradients(dense[: len(tensors)], dense[len(tensors) :])


def rounded_gradients(trials: Trials, trial: Trial, seed: int = 0) -> Gradients:
    """The reference's gradients with its weights and the inputs rounded differently."""
    with trials.rounded(seed) as nudge:
        return gradients(trials.reference, nudge(trial.probe.arrays))


def compare_gradients(
    pair: Pair,
    trials: Trials,
    trial: Trial,
    roles: list[Role],
    first: Gradients,
    rounded: Gradients,
) -> tuple[list[Row], list[str]]:
    """The gradients of inputs and of trainable weights, side by side.

    Args:
        pair: both built, the candidate ported; weights are moved and restored.
        trials: trials of the reference.
        trial: the trial on which the gradients are taken.
        roles: the roles of the inputs; masks and indices have no useful gradient.
        first: the reference's gradients on that trial.
        rounded: the result of :func:`rounded_gradients` on it.

    Returns:
        The comparisons, and descriptions of what was left out.
    """
    if all(each is None for each in [*first.inputs, *first.weights]):
        return [], ["gradients: the reference has none"]
    relative = 10 * trials.relative  # they pass through every operation twice
    seen = gradients(pair.candidate, trial.probe.arrays)
    rows, left_out = [], []
    outputs = np.concatenate([each.ravel() for each in trial.expected if is_float(each)])
    # If something moves the outputs by no more than their rounding, its gradient is rounding, too.
    floor = RELATIVE_FLOOR * rms(outputs)
    columns = zip(roles, trial.probe.arrays, first.inputs, rounded.inputs, seen.inputs, strict=True)
    for role, array, wanted, moved, given in columns:
        if wanted is not None and role.kind not in DISCRETE:
            given = np.zeros_like(wanted) if given is None else given
            tolerance = gradient_tolerance(wanted, wanted if moved is None else moved, relative)
            tolerance += floor / (rms(array) or 1.0)
            rows.append(Row(trial.probe.name, "gradient of input", apart(wanted, given, tolerance)))
    if not pair.candidate.layer.trainable_weights:
        if pair.reference.layer.trainable_weights:
            left_out.append("gradients of weights: the candidate has none to train")
        return rows, left_out
    slopes = [slope for slope in _slopes(pair, first, rounded, seen) if np.isfinite(slope.expected)]
    largest = max((slope.scale for slope in slopes), default=0.0)
    floor = max(16 * RELATIVE_FLOOR * largest, floor * np.sqrt(outputs.size))
    for slope in slopes:
        if not slope.linear:
            left_out.append(f"gradient of {slope.weight}: port is not linear in it")
            continue
        difference = abs(slope.seen - slope.expected)
        tolerance = relative * slope.scale + ROUNDING_MARGIN * slope.rounding + floor
        gap = Distance(bool(difference <= tolerance), difference, tolerance, "")
        rows.append(Row(trial.probe.name, f"gradient of {slope.weight}", gap))
    return rows, left_out


def _slopes(pair: Pair, first: Gradients, rounded: Gradients, seen: Gradients) -> Iterator[Slope]:
    # The two layers may hold their weights in different shapes, so gradients cannot be compared
    # directly; the slopes along a ported direction can, by the chain rule.
    rng = np.random.default_rng(1)
    trained = {id(weight) for weight in pair.reference.layer.trainable_weights}
    columns = zip(pair.reference.layer.weights, first.weights, rounded.weights, strict=True)
    # What the reference does not train, by tf.stop_gradient for example, has a gradient of zero.
    used = [
        (weight, np.zeros(weight.shape) if gradient is None else gradient, moved)
        for weight, gradient, moved in columns
        if id(weight) in trained and is_float(weight)
    ]
    if not used:
        return
    values = read([weight for weight, *_ in used])
    steps = [(rms(value) or 1.0) * rng.normal(size=value.shape) for _, value in values]
    steps = [step.astype(value.dtype) for step, (_, value) in zip(steps, values, strict=True)]
    moves = _Moves(pair)
    try:
        forward = []
        for (weight, value), step in zip(values, steps, strict=True):
            forward.append(moves.of([(weight, value + step)]))
            weight.assign(value)
        linear = moves.linear(values, steps, forward)
    finally:
        write(values)
        pair.port()
    places = {id(weight): place for place, weight in enumerate(pair.candidate.layer.weights)}
    slopes_seen = [seen.weights[places[id(other)]] for other in moves.others]
    rows = zip(used, steps, forward, linear, strict=True)
    for (weight, gradient, moved), step, there, is_linear in rows:
        terms = gradient * step
        noise = (gradient if moved is None else moved - gradient) * step
        yield Slope(
            weight=weight.path,
            linear=is_linear,
            expected=float(np.sum(terms)),
            seen=sum(
                float(np.sum(other * move))
                for other, move in zip(slopes_seen, there, strict=True)
                if other is not None
            ),
            scale=float(np.sqrt(np.sum(np.square(terms)))),
            rounding=max(abs(float(np.sum(noise))), float(np.sqrt(np.sum(np.square(noise))))),
        )


class _Moves:
    """How the candidate's trainable weights move when weights of the reference are ported."""

    def __init__(self, pair: Pair) -> None:
        self.others = pair.candidate.layer.trainable_weights
        self._pair = pair
        self._start = [other.numpy() for other in self.others]

    def of(self, values: Values) -> list[np.ndarray]:
        write(values)
        self._pair.port()
        return [
            other.numpy() - before for other, before in zip(self.others, self._start, strict=True)
        ]

    def linear(
        self, values: Values, steps: list[np.ndarray], forward: list[list[np.ndarray]]
    ) -> list[bool]:
        """Whether the port is linear in each weight, checked for all at once if possible."""
        sizes = [rms(step) for step in steps]
        weights = [weight for weight, _ in values]
        back = [value - step for (_, value), step in zip(values, steps, strict=True)]
        together = self.of(list(zip(weights, back, strict=True)))
        write(values)
        summed = [np.sum(parts, axis=0) for parts in zip(*forward, strict=True)]
        if _opposite(summed, together, min(sizes, default=0.0)):
            return [True] * len(values)
        found = []
        for pair, value, there, size in zip(values, back, forward, sizes, strict=True):
            found.append(_opposite(there, self.of([(pair[0], value)]), size))
            write([pair])
        return found


def _opposite(there: list[np.ndarray], back: list[np.ndarray], size: float) -> bool:
    pairs = zip(there, back, strict=True)
    return all(np.allclose(one, -other, atol=1e-3 * size) for one, other in pairs)


def _as_array(gradient: tf.Tensor | tf.IndexedSlices) -> np.ndarray:
    return tf.convert_to_tensor(gradient).numpy()
