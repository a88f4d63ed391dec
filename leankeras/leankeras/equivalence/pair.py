"""Reference and candidate side by side: inputs that both accept, and ported weights."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from leankeras.equivalence.calling import Arrays, Callee
from leankeras.equivalence.perturbation import read
from leankeras.equivalence.roles import declared_dtypes
from leankeras.equivalence.shapes import Shape
from leankeras.equivalence.tolerance import is_float
from leankeras.errors import EquivalenceError, one_line

Port = Callable[[keras.Layer, keras.Layer], Any]

BATCH = 3  # above 1, so that mixing of samples shows
OTHER_TYPES = ("int32", "bool")
MOST_CHANGED = 2  # at most this many inputs of undeclared type are tried as non-floats


@dataclass
class Pair:
    """A reference, a candidate and the function that sets the candidate's weights.

    Args:
        reference: the layer that is right.
        candidate: the layer that should do the same.
        user_port: the user's function; None copies weights in order.
    """

    reference: Callee
    candidate: Callee
    user_port: Port | None

    def port(self) -> None:
        """Set the candidate's weights from the reference's.

        Raises:
            EquivalenceError: they do not fit, or the user's function fails.
        """
        weights, others = self.reference.layer.weights, self.candidate.layer.weights
        if self.user_port is None:
            shapes, taken = ([tuple(each.shape) for each in side] for side in (weights, others))
            if shapes != taken:
                raise EquivalenceError(
                    f"reference has weights of shapes {shapes} and candidate {taken}; "
                    "give port=, a function (reference, candidate) that copies them over"
                )
            for weight, other in zip(weights, others, strict=True):
                other.assign(weight)
            return
        try:
            self.user_port(self.reference.layer, self.candidate.layer)
        except Exception as error:
            raise EquivalenceError(f"port failed: {one_line(error)}") from error

    def try_port(self) -> None:
        """Call :meth:`port` for the first time, and check that the reference is unchanged.

        Raises:
            EquivalenceError: also if the user's function changes the reference.
        """
        before = read(self.reference.layer.weights)
        self.port()
        for weight, value in before:
            if not np.array_equal(weight.numpy(), value):
                raise EquivalenceError(
                    f"port changed the reference's {weight.path}; it should set only the "
                    "candidate's weights"
                )

    def settle(self, shapes: list[Shape], samples: Arrays | None) -> tuple[Arrays, Arrays, Arrays]:
        """Build both, by calling them with inputs of types that both accept.

        A custom layer does not declare the types it accepts: floats are tried first, then whole
        numbers and truth values; random floats first, then zeros and ones, which are valid for
        most inputs.

        Args:
            shapes: the shape of one sample of each input.
            samples: the user's samples, one array for each input, which set the types.

        Returns:
            The batch, the reference's outputs on it and the candidate's.

        Raises:
            EquivalenceError: one of them rejects the inputs.
        """
        refused: EquivalenceError | None = None
        batch = self._batch()
        for arrays in self._batches(shapes, samples, batch):
            for spread in (True, False):
                for callee in (self.reference, self.candidate):
                    callee.spread = callee.may_spread if spread else callee.must_spread
                try:
                    outputs = [each.eager(arrays) for each in (self.reference, self.candidate)]
                    return arrays, *outputs
                except EquivalenceError as error:
                    refused = refused or error
        raise refused

    def _batches(self, shapes: list[Shape], samples: Arrays | None, batch: int) -> Iterator[Arrays]:
        if samples is not None:
            yield [np.resize(each, (batch, *each.shape[1:])) for each in samples]
            return
        both = [declared_dtypes(each, len(shapes)) for each in (self.reference, self.candidate)]
        declared = [one or other for one, other in zip(*both, strict=True)]
        free = [i for i, dtype in enumerate(declared) if dtype is None]
        for count in range(min(len(free), MOST_CHANGED) + 1):
            for positions in itertools.combinations(free, count):
                for types in itertools.product(OTHER_TYPES, repeat=count):
                    chosen = [dtype or "float32" for dtype in declared]
                    for position, dtype in zip(positions, types, strict=True):
                        chosen[position] = dtype
                    for value in (None, 0, 1):
                        pairs = zip(shapes, chosen, strict=True)
                        yield [_filled((batch, *shape), dtype, value) for shape, dtype in pairs]

    def _batch(self) -> int:
        for callee in (self.reference, self.candidate):
            for tensor in callee.inputs:
                if tensor.shape and tensor.shape[0]:
                    return tensor.shape[0]  # the only size it accepts
        return BATCH


def _filled(shape: Shape, dtype: str, value: int | None) -> np.ndarray:
    if value is None and is_float(np.empty(0, dtype)):
        return np.random.default_rng(0).normal(size=shape).astype(dtype)
    return np.full(shape, value or 0, dtype)
