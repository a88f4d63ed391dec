"""Comparison of outputs: on every probe, in training, and of one layer called twice."""

from leankeras.equivalence.calling import Arrays, Callee
from leankeras.equivalence.pair import Pair
from leankeras.equivalence.perturbation import read, write
from leankeras.equivalence.tolerance import (
    FAILS,
    RELATIVE_16_BIT,
    RELATIVE_GRADIENT,
    RELATIVE_REPEAT,
    apart,
    distance,
)
from leankeras.equivalence.trials import Trial
from leankeras.equivalence.verdict import Row
from leankeras.errors import EquivalenceError


def make_steady(callee: Callee, arrays: Arrays) -> Arrays:
    """Make sure that a layer is deterministic and that its graph computes the same.

    A graph that computes something different is dropped. Returns the outputs.

    Raises:
        EquivalenceError: two calls on the same inputs gave different outputs.
    """
    first = callee.eager(arrays)
    repeat = RELATIVE_16_BIT if callee.is_half() else RELATIVE_REPEAT
    second = callee.eager(arrays)
    if not all(distance(*two, repeat).equal for two in zip(first, second, strict=True)):
        raise EquivalenceError(
            f"{callee.name} {callee.layer.name} is random at inference or changes its state: two "
            "calls on the same input gave different outputs; respect training=False"
        )
    callee.keep_graph_if(arrays, first)
    return first


def compare_outputs(candidate: Callee, trials: list[Trial]) -> list[Row]:
    """The candidate's outputs on each probe against the reference's."""
    rows = []
    for trial in trials:
        try:
            seen = candidate.run(trial.probe.arrays)
        except EquivalenceError:  # the reference accepts these inputs
            rows.append(Row(trial.probe.name, "output", FAILS))
            continue
        columns = zip(trial.expected, seen, trial.tolerances, strict=True)
        for number, (wanted, given, tolerance) in enumerate(columns):
            name = "output" if len(seen) == 1 else f"output {number}"
            gap = apart(wanted, given, tolerance) if wanted.shape == given.shape else FAILS
            rows.append(Row(trial.probe.name, name, gap))
    return rows


def compare_training(pair: Pair, trial: Trial) -> tuple[list[Row], list[str]]:
    """The outputs in training mode, if the reference is not random there.

    Returns:
        The comparisons, and descriptions of what was left out.
    """
    weights = read(pair.reference.layer.weights + pair.candidate.layer.weights)
    calls = []
    for callee in (pair.reference, pair.reference, pair.candidate):
        # The seeds advance: a layer that is random in training draws other numbers each time.
        try:
            calls.append(callee.eager(list(trial.probe.arrays), training=True))
        except EquivalenceError as error:
            if callee is pair.candidate:
                return [Row(trial.probe.name, "output in training", FAILS)], []
            return [], [f"training mode: {error}"]
        finally:
            write(weights)
    half = pair.reference.is_half()
    repeat, relative = (
        (RELATIVE_16_BIT, RELATIVE_16_BIT) if half else (RELATIVE_REPEAT, RELATIVE_GRADIENT)
    )
    rows, left_out = [], []
    for first, second, seen in zip(*calls, strict=True):
        if not distance(first, second, repeat).equal:
            left_out = ["training mode, in which the reference is random"]
        else:
            gap = distance(first, seen, relative) if first.shape == seen.shape else FAILS
            rows.append(Row(trial.probe.name, "output in training", gap))
    return rows, left_out
