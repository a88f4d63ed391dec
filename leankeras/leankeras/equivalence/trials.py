"""The reference on a probe: its outputs, and how far a candidate's may be off."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from leankeras.equivalence.calling import Arrays, Callee
from leankeras.equivalence.perturbation import nudged, read, round_differently, write
from leankeras.equivalence.probes import USUAL, Probe
from leankeras.equivalence.tolerance import (
    RELATIVE,
    RELATIVE_16_BIT,
    changes,
    is_float,
    output_tolerance,
    usual_size,
)
from leankeras.equivalence.values import SCALES
from leankeras.errors import EquivalenceError

ROUNDING, ROUNDING_16_BIT = 2.0**-22, 2.0**-8
# A change shows clearly if it moves an output by this many tolerances: then one of a few tenths of
# its size still exceeds the tolerance.
CLEAR = 8
ROUNDINGS = 3  # with a single one, an output may happen not to move


@dataclass(frozen=True)
class Trial:
    """A probe with the reference's outputs on it and the tolerance of each of their elements."""

    probe: Probe
    expected: Arrays
    tolerances: Arrays

    def tells_apart(self, outputs: Arrays) -> bool:
        """Whether outputs differ clearly, by several times the tolerance of the comparison."""
        for wanted, given, tolerance in zip(self.expected, outputs, self.tolerances, strict=True):
            difference = changes(wanted, given)
            if (difference / CLEAR > tolerance).any():
                return True
        return False


class Trials:
    """Makes trials of one reference, with its present weights.

    Args:
        reference: the layer, built and perturbed.

    Attributes:
        relative: the relative part of the tolerance of outputs.
        rounding: the relative error of numbers that are rounded differently.
        rejected: a one-line error for each probe that the reference rejects.
    """

    def __init__(self, reference: Callee) -> None:
        half = reference.is_half()
        self.reference = reference
        self.relative = RELATIVE_16_BIT if half else RELATIVE
        self.rejected: dict[str, str] = {}
        self.rounding = ROUNDING_16_BIT if half else ROUNDING
        self._weights = read(reference.layer.weights)
        self._usual: list[np.ndarray] | None = None

    def make(self, probes: list[Probe]) -> list[Trial]:
        """A trial of each probe that the reference accepts."""
        outputs, taken = [], []
        for probe in probes:
            # If the reference rejects an input, the candidate is not to blame.
            try:
                outputs.append(self.reference.run(probe.arrays))
                taken.append(probe)
            except EquivalenceError as error:
                self.rejected[probe.name] = str(error)
        rounding = [[np.zeros(each.shape) for each in expected] for expected in outputs]
        for seed in range(ROUNDINGS):
            with self.rounded(seed) as nudge:
                for probe, expected, moved in zip(taken, outputs, rounding, strict=True):
                    again = self.reference.run(nudge(probe.arrays))
                    for i, (wanted, given) in enumerate(zip(expected, again, strict=True)):
                        moved[i] = np.maximum(moved[i], changes(wanted, given))
        if self._usual is None:
            self._usual = _usual_sizes(taken, outputs)
        return [
            Trial(probe, expected, self.tolerances(probe, expected, moved))
            for probe, expected, moved in zip(taken, outputs, rounding, strict=True)
        ]

    def tolerances(self, probe: Probe, expected: Arrays, rounding: Arrays) -> Arrays:
        """How far each element of each output may be off.

        Args:
            probe: the probe that gave the outputs.
            expected: the reference's outputs.
            rounding: how far each of their elements moved when all was rounded differently.
        """
        if probe.finite:
            return [np.full(each.shape, np.finfo("float64").max) for each in expected]
        sizes = [float(np.sqrt(np.mean(x**2))) for x in probe.arrays if is_float(x) and x.size]
        scale = SCALES.get(probe.name, max([1.0, *sizes]))
        rows = zip(expected, rounding, self._usual, strict=True)
        return [output_tolerance(each, self.relative, *row, scale) for each, *row in rows]

    @contextmanager
    def rounded(self, seed: int) -> Iterator[Callable[[Sequence[np.ndarray]], Arrays]]:
        """Round the reference's weights differently; yields a function that does so for inputs."""
        rng = np.random.default_rng(seed)
        try:
            round_differently(self._weights, self.rounding, seed)
            yield lambda arrays: [nudged(array, self.rounding, rng) for array in arrays]
        finally:
            write(self._weights)


def _usual_sizes(probes: list[Probe], outputs: list[Arrays]) -> list[np.ndarray]:
    # For random numbers, or for those above 0 if the others have no logarithm.
    usual = [each for probe, each in zip(probes, outputs, strict=True) if probe.name in USUAL]
    return [
        np.max([usual_size(output) for output in column], axis=0) if is_float(column[0]) else 0.0
        for column in zip(*usual, strict=True)
    ]
