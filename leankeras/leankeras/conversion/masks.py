"""Limit masks such as -1e9 to the size that masking needs, before they set attention's scale.

A mask is added to attention scores, or replaces them, so that a softmax gives them no weight. In
int8 its value is part of the range, and with a range of a billion all scores round to one number.
But a value 16 below the lowest score has a weight of e^-16, far less than one of the 256 steps: a
mask limited to that has the same effect, and the scores keep their resolution.

Only values that are certainly masks are limited: the sum must end in a softmax (or a sigmoid, or a
maximum) and nowhere else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.conversion.tflite_graph import BUILTIN, PASSING, TFLiteGraph

LARGE = 100.0  # no score is that far below zero
DEPTH = 16.0  # the softmax weight of a score this far below the rest is e^-16 of theirs
ENDS = {
    BUILTIN.SOFTMAX, BUILTIN.LOG_SOFTMAX, BUILTIN.LOGISTIC,
    BUILTIN.REDUCE_MAX, BUILTIN.MAX_POOL_2D, BUILTIN.ARG_MAX,
}  # fmt: skip
CHOICES = {BUILTIN.SELECT, BUILTIN.SELECT_V2}
EXTREMES = {BUILTIN.MINIMUM, BUILTIN.MAXIMUM}
SUMS = {BUILTIN.ADD, BUILTIN.SUB}


class _NoMask(Exception):
    """The presumed mask may be something else as well."""


@dataclass
class _Plan:
    """The changes needed to limit the masks that end in one operator.

    Attributes:
        operators: the operators whose results matter only above the mask.
        ranges: tensor to its new range.
        masks: ``(operator, place, limit, sign)``: an input to keep above ``limit``, or, if the
            operator subtracts it (sign -1), below ``-limit``.
    """

    operators: list[schema.OperatorT]
    ranges: dict[int, tuple[float, float]] = field(default_factory=dict)
    masks: list[tuple[schema.OperatorT, int, float, int]] = field(default_factory=list)


def limit_masks(graph: TFLiteGraph) -> None:
    """Limit the masks of a calibrated .tflite.

    Args:
        graph: the graph with the ranges of its activations; changed in place.
    """
    plans = []
    for operator in graph.operators:
        if graph.kind(operator) not in ENDS or not _is_low(graph, operator.inputs[0]):
            continue
        plan = _Plan([operator])
        try:
            _lowest(graph, int(operator.inputs[0]), DEPTH, plan)
            _check_use(graph, plan)
        except _NoMask:
            continue
        plans.append(plan)
    masks = [mask for plan in plans for mask in plan.masks]
    for plan in plans:
        try:
            changes = [change for mask in plan.masks for change in _limited(graph, mask, masks)]
        except _NoMask:
            continue
        for change in changes:
            change()
        for tensor, (low, high) in plan.ranges.items():
            graph.set_range(tensor, low, high)


def _is_low(graph: TFLiteGraph, tensor: int, sign: int = 1) -> bool:
    """Whether the smallest value of a tensor (the largest, for sign -1) can only be a mask."""
    span = graph.range(int(tensor))
    return span is not None and min(sign * span[0], sign * span[1]) <= -LARGE


def _lowest(graph: TFLiteGraph, tensor: int, depth: float, plan: _Plan) -> float:
    """The lowest value of a tensor where it is not masked; adds the way to limit it to the plan."""
    span = graph.range(tensor)
    if span is None:
        raise _NoMask
    if not _is_low(graph, tensor):
        return span[0]
    operator = graph.producer(tensor)
    if operator is None:
        raise _NoMask
    kind = graph.kind(operator)
    if kind in PASSING:
        lowest = _lowest(graph, int(operator.inputs[0]), depth, plan)
    elif kind == BUILTIN.MUL:
        lowest = _lowest_scaled(graph, operator, depth, plan)
    elif kind in SUMS or kind in CHOICES:
        lowest = _lowest_masked(graph, operator, depth, plan)
    else:
        raise _NoMask
    plan.operators.append(operator)
    plan.ranges[tensor] = (lowest - depth, max(span[1], lowest))
    return lowest


def _lowest_scaled(
    graph: TFLiteGraph, operator: schema.OperatorT, depth: float, plan: _Plan
) -> float:
    for value, factor in (operator.inputs, operator.inputs[::-1]):
        scale = graph.values(int(factor))
        if scale is not None and scale.size == 1 and 0 < scale.item() < LARGE:
            return scale.item() * _lowest(graph, int(value), depth / scale.item(), plan)
    raise _NoMask


def _lowest_masked(
    graph: TFLiteGraph, operator: schema.OperatorT, depth: float, plan: _Plan
) -> float:
    """Like :func:`_lowest`, for a sum of scores and a mask or a choice between the two."""
    kind = graph.kind(operator)
    first = 1 if kind in CHOICES else 0
    for place in (first + 1, first):
        sign = -1 if kind == BUILTIN.SUB and place == 1 else 1
        mask, scores = int(operator.inputs[place]), int(operator.inputs[2 * first + 1 - place])
        if not _is_low(graph, mask, sign) or graph.range(scores) is None:
            continue
        tried = _Plan([])
        try:
            rest = 0.0 if kind in CHOICES else _unmasked(graph, mask, sign)
            lowest = _lowest(graph, scores, depth, tried) + rest
        except _NoMask:
            continue
        highest = 0.0 if kind in CHOICES else graph.range(scores)[1]
        plan.masks += [*tried.masks, (operator, place, lowest - depth - highest, sign)]
        plan.operators += tried.operators
        plan.ranges |= tried.ranges
        return lowest
    raise _NoMask


def _unmasked(graph: TFLiteGraph, mask: int, sign: int) -> float:
    """The lowest value of a mask where it does not mask, such as a distance bias; mostly 0."""
    highest = max(sign * bound for bound in graph.range(mask))
    if highest > LARGE:
        raise _NoMask
    values = graph.values(mask)
    if values is None:
        return min(0.0, highest)
    kept = sign * values[sign * values > -LARGE]
    if not kept.size:
        raise _NoMask
    return float(kept.min())


def _check_use(graph: TFLiteGraph, plan: _Plan) -> None:
    """Refuse if anything other than the softmax would see the changed mask."""
    known = {id(operator) for operator in plan.operators}
    for tensor in plan.ranges:
        readers = graph.consumers(tensor)
        if tensor in graph.outputs or not known.issuperset(map(id, readers)):
            raise _NoMask
    end = plan.operators[0]
    if graph.kind(end) in (BUILTIN.REDUCE_MAX, BUILTIN.MAX_POOL_2D) and _is_low(
        graph, end.outputs[0]
    ):
        raise _NoMask


def _limited(
    graph: TFLiteGraph,
    mask: tuple[schema.OperatorT, int, float, int],
    masks: list[tuple[schema.OperatorT, int, float, int]],
) -> list[Callable[[], None]]:
    """The changes that keep an input of an operator above a limit."""
    operator, place, limit, sign = mask
    tensor = int(operator.inputs[place])
    values = graph.values(tensor)
    if values is not None:
        kept = np.maximum(values, limit) if sign == 1 else np.minimum(values, -limit)
        return [lambda: graph.set_input(operator, place, graph.add_constant(kept))]
    # Several attention layers may share a computed mask: it has to work for all of them.
    sharing = {
        id(other): other_limit for other, at, other_limit, _ in masks if other.inputs[at] == tensor
    }
    if tensor in graph.outputs or not set(sharing).issuperset(map(id, graph.consumers(tensor))):
        raise _NoMask
    limit = min(sharing.values())
    low, high = graph.range(tensor)
    source = graph.producer(tensor)
    bounds = (max(low, limit), high) if sign == 1 else (low, min(high, -limit))
    changes = [lambda: graph.set_range(tensor, *bounds)]
    if source is None:  # an input of the model, whose values saturate at its range
        return changes
    kind = graph.kind(source)
    if kind in PASSING:
        inner = [(source, 0, limit, sign)]
    elif kind in CHOICES:
        inner = [(source, 1, limit, sign), (source, 2, limit, sign)]
    elif kind in EXTREMES:
        inner = [(source, 0, limit, sign), (source, 1, limit, sign)]
    else:
        return changes + _scaled(graph, tensor, limit / (sign * (low if sign == 1 else high)))
    return changes + [change for each in inner for change in _limited(graph, each, inner)]


def _scaled(graph: TFLiteGraph, tensor: int, factor: float) -> list[Callable[[], None]]:
    """The changes that multiply a computed tensor by a factor."""
    operator = graph.producer(tensor)
    if operator is None:
        raise _NoMask
    kind = graph.kind(operator)
    if kind == BUILTIN.MUL:
        constant = [k for k in (0, 1) if graph.values(int(operator.inputs[k])) is not None]
        large = [k for k in constant if np.abs(graph.values(int(operator.inputs[k]))).max() > 1]
        places = large or [k for k in (0, 1) if k not in constant]
        if len(places) != 1:
            raise _NoMask
    elif kind in SUMS or kind in EXTREMES:
        places = [0, 1]
    elif kind in PASSING:
        places = [0]
    elif kind in CHOICES:
        places = [1, 2]
    else:
        raise _NoMask
    changes = []
    for place in places:
        source = int(operator.inputs[place])
        values = graph.values(source)
        if values is not None:
            changes.append(_new_input(graph, operator, place, factor * values))
            continue
        span = graph.range(source)
        if span is None or graph.consumers(source) != [operator]:
            raise _NoMask
        changes.append(
            lambda source=source, span=span: graph.set_range(
                source, factor * span[0], factor * span[1]
            )
        )
        changes += _scaled(graph, source, factor)
    return changes


def _new_input(
    graph: TFLiteGraph, operator: schema.OperatorT, place: int, values: np.ndarray
) -> Callable[[], None]:
    constant = values.astype(np.float32)
    return lambda: graph.set_input(operator, place, graph.add_constant(constant))
