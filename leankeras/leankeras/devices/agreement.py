"""Whether another machine gives the same answers: integers to the last bit, floats to a bound."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from leankeras.devices.vectors import Vectors

# Relative to the largest value of the output. Rounding alone stays below 1e-5 or so; a quantized
# activation that rounds the other way moves an output by up to a step of 1/256.
BOUND = 0.01


@dataclass(frozen=True)
class Agreement:
    """How far one output is from this machine's, over all test vectors.

    Attributes:
        output: its name.
        type: "int8", "float32", ...
        largest: the largest difference: in steps for an integer, else relative to the largest
            value of the output.
        differing: how many values differ at all, of ``values``.
        values: how many values were compared.
        sample: the test vector with the largest difference.
    """

    output: str
    type: str
    largest: float
    differing: int
    values: int
    sample: int

    @property
    def equal(self) -> bool:
        """Whether every value is the same to the last bit."""
        return self.differing == 0

    def within_bound(self, steps: int = 0) -> bool:
        """Whether this is the same answer: floats within the bound, integers within some steps."""
        return self.largest <= (BOUND if np.dtype(self.type).kind == "f" else steps)

    def __str__(self) -> str:
        if self.equal:
            return f"{self.output} ({self.type}): {self.values} values equal to the last bit"
        unit = "of the largest value" if np.dtype(self.type).kind == "f" else "step(s)"
        return (
            f"{self.output} ({self.type}): {self.differing} of {self.values} values differ, by up "
            f"to {self.largest:.2g} {unit}, most in test vector {self.sample}"
        )


def judge(vectors: Vectors, differences: Mapping[str, Mapping[str, Any]]) -> list[Agreement]:
    """Judge what :func:`leankeras.devices.trial.difference` reports, by tensor index."""
    found = []
    for index, expected in vectors.outputs.items():
        seen = differences[str(index)]
        size = seen["size"] or 1.0 if expected.dtype.kind == "f" else 1.0
        found.append(
            Agreement(
                output=vectors.names[index],
                type=expected.dtype.name,
                largest=seen["largest"] / size,
                differing=seen["differing"],
                values=seen["values"],
                sample=seen["sample"],
            )
        )
    return found


def disagreement(agreement: Iterable[Agreement], steps: int = 0) -> str | None:
    """The first output that is not the same answer, in words; None if all are."""
    wrong = next((each for each in agreement if not each.within_bound(steps)), None)
    return f"other answers than here: {wrong}" if wrong else None
