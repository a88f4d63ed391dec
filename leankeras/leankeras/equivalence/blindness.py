"""Which weights and inputs of the reference no probe depends on.

A probe that gives the same outputs whatever a weight is would also accept a candidate that has
that weight wrong. So each weight and each input is replaced by other values, by itself: what
moves no output beyond the tolerance, on any probe, has not been tested.

Some weights matter nowhere: the bias of the keys in an attention moves all scores of a query
alike, and a softmax ignores that. They are told from untested ones by their gradient. There it is
the sum of terms that cancel, so that rounding the weights and inputs differently gives another
tiny number; where a softmax is saturated or a unit is dead, the terms themselves are zero.
"""

from collections.abc import Iterator

import keras
import numpy as np

from leankeras.equivalence.calling import Arrays
from leankeras.equivalence.gradients import Gradient, Gradients, gradients, rounded_gradients
from leankeras.equivalence.perturbation import other_values, read, write
from leankeras.equivalence.probes import Probe, draw
from leankeras.equivalence.roles import ADJACENCY, BOXES, MASK, NUMBERS, Role
from leankeras.equivalence.trials import Trial, Trials
from leankeras.equivalence.usage import Usage

SEARCHES = 24  # combinations of kinds tried for what the usual probes do not show
MORE_GRADIENTS = 3  # probes whose gradients are looked at beside those of the first
# A gradient this many times its own rounding is no sum that cancels.
TRUE_GRADIENT = 100
# A weight matters clearly if it moves the outputs by this many tolerances.
CLEAR = 10


class Sight:
    """What the probes tried so far do not show of the reference.

    Args:
        trials: of the reference, whose weights are put back after each look.
        roles: what its inputs are.
        weights: those that outputs may depend on.
        uses: of each input.
        batch: how many samples a batch has.

    Attributes:
        weights: those that no probe has been seen to depend on.
        inputs: positions of such inputs.
    """

    def __init__(
        self,
        trials: Trials,
        roles: list[Role],
        weights: list[keras.Variable],
        uses: list[Usage],
        batch: int,
    ) -> None:
        self.weights = weights
        self.inputs = [position for position, use in enumerate(uses) if use.read]
        self._trials = trials
        self._roles = roles
        self._batch = batch
        self._rng = np.random.default_rng(2)

    @property
    def clear(self) -> bool:
        """Whether everything has been seen."""
        return not (self.weights or self.inputs)

    @property
    def blind_to(self) -> tuple[str, ...]:
        """Names of the weights and inputs that are left."""
        names = [weight.name for weight in self.weights]
        paths = [
            weight.path if names.count(weight.name) > 1 else weight.name for weight in self.weights
        ]
        return (*paths, *(self._roles[i].name for i in self.inputs))

    def look(self, trial: Trial) -> None:
        """Drop what the outputs of a trial depend on."""
        if self.weights:
            self.weights = self._unseen_weights(trial)
        self.inputs = [i for i in self.inputs if not self._sees_input(trial, i)]

    def drop_by_gradients(self, trial: Trial, first: Gradients, rounded: Gradients) -> None:
        """Drop the weights that by their gradients matter much on a trial, or nowhere.

        Args:
            trial: what the gradients are of.
            first: the reference's gradients.
            rounded: the same with weights and inputs rounded differently.
        """
        places = {
            id(weight): place for place, weight in enumerate(self._trials.reference.layer.weights)
        }
        enough = CLEAR * _norm(trial.tolerances)
        left = []
        for weight in self.weights:
            place = places[id(weight)]
            moves, terms = _effects(
                weight.numpy(), first.weights[place], rounded.weights[place], self._trials.rounding
            )
            if max(moves, terms) <= enough:
                left.append(weight)
        self.weights = left

    def drop_by_more_gradients(self, trials: list[Trial]) -> None:
        """Look at gradients on further probes, as long as there are weights left."""
        for trial in trials[:MORE_GRADIENTS]:
            if self.weights:
                first = gradients(self._trials.reference, trial.probe.arrays)
                self.drop_by_gradients(trial, first, rounded_gradients(self._trials, trial))

    def search(self) -> list[Trial]:
        """Try other combinations of kinds; returns the trials that showed something more."""
        found = []
        for probe in self._combinations():
            if self.clear:
                break
            for trial in self._trials.make([probe]):
                before = self.blind_to
                self.look(trial)
                if self.blind_to != before:
                    found.append(trial)
        return found

    def _unseen_weights(self, trial: Trial) -> list[keras.Variable]:
        values = read(self.weights)
        try:
            self._replace(values)
            if not trial.tells_apart(self._outputs(trial.probe.arrays)):
                return self.weights
            left = []
            for pair in values if len(values) > 1 else ():
                write(values)
                self._replace([pair])
                if not trial.tells_apart(self._outputs(trial.probe.arrays)):
                    left.append(pair[0])
            return left
        finally:
            write(values)

    def _replace(self, values: list[tuple[keras.Variable, np.ndarray]]) -> None:
        for weight, value in values:
            weight.assign(other_values(value, self._rng))

    def _sees_input(self, trial: Trial, position: int) -> bool:
        arrays = list(trial.probe.arrays)
        arrays[position] = draw(self._roles[position], "random", len(arrays[position]), self._rng)
        return trial.tells_apart(self._outputs(arrays))

    def _outputs(self, arrays: Arrays) -> Arrays:
        return self._trials.reference.run(arrays)

    def _combinations(self) -> Iterator[Probe]:
        for number in range(SEARCHES):
            kinds = [str(self._rng.choice(_kinds(role))) for role in self._roles]
            pairs = zip(self._roles, kinds, strict=True)
            arrays = tuple(draw(role, kind, self._batch, self._rng) for role, kind in pairs)
            doubtful = any(role.doubtful for role in self._roles)
            yield Probe(f"combination {number}: {', '.join(kinds)}", arrays, doubtful)


def _kinds(role: Role) -> list[str]:
    if role.kind != NUMBERS:
        return ["random", "ones", "padded"]
    kinds = ["random", "small", "large", "positive", "whole", "zeros", "ones", "sparse", MASK]
    if role.shape[-1:] == (4,):
        kinds.append(BOXES)
    if len(role.shape) > 1 and role.shape[-1] == role.shape[-2]:
        kinds.append(ADJACENCY)
    return kinds


def _effects(
    value: np.ndarray, gradient: Gradient, rounded: Gradient, rounding: float
) -> tuple[float, float]:
    """How far a weight as large as this one moves outputs, and would if nothing cancelled."""
    if gradient is None or rounded is None or not np.isfinite(gradient).all():
        return 0.0, 0.0
    size = float(np.sqrt(np.mean(np.square(value.astype("float64")))))
    slope, noise = (float(np.linalg.norm(each)) for each in (gradient, rounded - gradient))
    cancels = noise > 0 and slope < TRUE_GRADIENT * noise
    return size * slope, size * noise / rounding if cancels else 0.0


def _norm(arrays: Arrays) -> float:
    return float(np.sqrt(sum(np.sum(np.square(array)) for array in arrays)))
