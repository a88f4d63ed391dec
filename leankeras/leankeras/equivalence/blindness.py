"""The weights and inputs of the reference that no probe depends on.

A probe that gives the same outputs whatever a weight is would also accept a candidate that has
that weight wrong. So each weight and each input is replaced by other values, one at a time: if no
output moves beyond the tolerance, on any probe, it has not been tested, and a search looks for
inputs that test it. Those left over at the end either matter nowhere (:mod:`.cancellation`) or
stay untested.
"""

from collections.abc import Iterator
from itertools import product

import keras
import numpy as np

from leankeras.equivalence.calling import Arrays
from leankeras.equivalence.cancellation import cancelled, movement
from leankeras.equivalence.gradients import Gradient, Gradients, gradients, rounded_gradients
from leankeras.equivalence.perturbation import Values, other_values, read, write
from leankeras.equivalence.probes import GENERIC, Probe
from leankeras.equivalence.roles import ADJACENCY, BOXES, MASK, NUMBERS, Role
from leankeras.equivalence.trials import Trial, Trials
from leankeras.equivalence.usage import Usage
from leankeras.equivalence.values import draw

SEARCHES = 24  # combinations of kinds tried when the usual probes do not suffice
FEWER_SEARCHES = 8  # if everything left seems to matter nowhere
ROUNDINGS = 3
# A weight matters clearly if it moves the outputs by this many tolerances.
CLEAR = 4


class Sight:
    """The parts of the reference that have not been tested yet.

    Args:
        trials: trials of the reference, whose weights are restored after each look.
        roles: the roles of its inputs.
        weights: the weights that outputs may depend on.
        uses: the usage of each input.
        batch: number of samples in a batch.
    """

    def __init__(
        self,
        trials: Trials,
        roles: list[Role],
        weights: list[keras.Variable],
        uses: list[Usage],
        batch: int,
    ) -> None:
        self._weights = weights
        self._inputs = [position for position, use in enumerate(uses) if use.read]
        self._trials = trials
        self._roles = roles
        self._batch = batch
        self._rng = np.random.default_rng(2)
        self._places = {
            id(weight): place for place, weight in enumerate(trials.reference.layer.weights)
        }

    @property
    def blind_to(self) -> tuple[str, ...]:
        """Names of the weights and inputs that no probe depends on."""
        names = [weight.name for weight in self._trials.reference.layer.weights]
        paths = [
            weight.path if names.count(weight.name) > 1 else weight.name for weight in self._weights
        ]
        return (*paths, *(self._roles[i].name for i in self._inputs))

    def look(self, tried: list[Trial], slopes: Gradients, rounded: Gradients) -> list[Trial]:
        """Go through the trials, then search for others that show more.

        Args:
            tried: the trials, that of the usual probe first.
            slopes: the reference's gradients on that probe.
            rounded: the same with weights and inputs rounded differently.

        Returns:
            The trials added by the search.
        """
        usual, *others = tried
        clear = CLEAR * _norm(usual.tolerances)
        self._weights = [
            weight
            for weight in self._weights
            if movement(weight.numpy(), self._of(weight, slopes)) <= clear
        ]
        for trial in tried:
            self._look_at(trial)
        suspects = self._cancelling(usual, slopes, rounded)
        # On inputs with no equal values, so that cancellation is not caused by the inputs. What is
        # left of a sum may by chance be rounded the same way twice, so there are several tries.
        generic = [each for each in others if each.probe.name in GENERIC]
        for seed, trial in product(range(ROUNDINGS), [*generic, usual]):
            if len(suspects) < len(self._weights):
                again = gradients(self._trials.reference, trial.probe.arrays)
                differently = rounded_gradients(self._trials, trial, seed)
                suspects |= self._cancelling(trial, again, differently)
        certain = self._inputs or len(suspects) < len(self._weights)
        found = self._search(SEARCHES if certain else FEWER_SEARCHES)
        self._weights = [weight for weight in self._weights if id(weight) not in suspects]
        return found

    def _look_at(self, trial: Trial) -> None:
        if self._weights:
            self._weights = self._unseen_weights(trial)
        self._inputs = [i for i in self._inputs if not self._sees_input(trial, i)]

    def _search(self, most: int) -> list[Trial]:
        found = []
        for probe in self._combinations(most):
            if not (self._weights or self._inputs):
                break
            for trial in self._trials.make([probe]):
                before = self.blind_to
                self._look_at(trial)
                if self.blind_to != before:
                    found.append(trial)
        return found

    def _combinations(self, most: int) -> Iterator[Probe]:
        for number in range(1, most + 1):
            kinds = [str(self._rng.choice(_kinds(role))) for role in self._roles]
            pairs = zip(self._roles, kinds, strict=True)
            arrays = tuple(draw(role, kind, self._batch, self._rng) for role, kind in pairs)
            doubtful = any(role.doubtful for role in self._roles)
            yield Probe(f"combination {number}: {', '.join(kinds)}", arrays, doubtful)

    def _unseen_weights(self, trial: Trial) -> list[keras.Variable]:
        values = read(self._weights)
        try:
            self._replace(values)
            if not trial.tells_apart(self._outputs(trial.probe.arrays)):
                return self._weights
            write(values)
            return [pair[0] for pair in values if len(values) > 1 and not self._sees(trial, pair)]
        finally:
            write(values)

    def _sees(self, trial: Trial, pair: tuple[keras.Variable, np.ndarray]) -> bool:
        self._replace([pair])
        outputs = self._outputs(trial.probe.arrays)
        write([pair])
        return trial.tells_apart(outputs)

    def _replace(self, values: Values) -> None:
        for weight, value in values:
            weight.assign(other_values(value, self._rng))

    def _sees_input(self, trial: Trial, position: int) -> bool:
        arrays = list(trial.probe.arrays)
        role, array = self._roles[position], arrays[position]
        if role.kind == NUMBERS:
            # Numbers above 0 stay above 0, for logarithms.
            factors = np.exp(0.5 * self._rng.normal(size=array.shape))
            arrays[position] = (array * factors).astype(array.dtype)
        else:
            arrays[position] = draw(role, "random", len(array), self._rng)
        return trial.tells_apart(self._outputs(arrays))

    def _outputs(self, arrays: Arrays) -> Arrays:
        return self._trials.reference.run(arrays)

    def _cancelling(self, trial: Trial, slopes: Gradients, rounded: Gradients) -> set[int]:
        clear, rounding = CLEAR * _norm(trial.tolerances), self._trials.rounding
        return {
            id(weight)
            for weight in self._weights
            if clear
            < cancelled(
                weight.numpy(), self._of(weight, slopes), self._of(weight, rounded), rounding
            )
        }

    def _of(self, weight: keras.Variable, slopes: Gradients) -> Gradient:
        return slopes.weights[self._places[id(weight)]]


def _kinds(role: Role) -> list[str]:
    if role.kind != NUMBERS:
        return ["random", "ones", "padded"]
    kinds = ["random", "small", "large", "positive", "whole", "zeros", "ones", "sparse", MASK]
    if role.shape[-1:] == (4,):
        kinds.append(BOXES)
    if len(role.shape) > 1 and role.shape[-1] == role.shape[-2]:
        kinds.append(ADJACENCY)
    return kinds


def _norm(arrays: Arrays) -> float:
    return float(np.sqrt(sum(np.sum(np.square(array)) for array in arrays)))
