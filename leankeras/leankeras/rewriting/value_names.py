"""What the values in a printed call are called."""

import re
from collections import Counter
from collections.abc import Iterable

from leankeras.rewriting.compilation import KERNELS
from leankeras.rewriting.program import Statement

ROLE = re.compile(r"_?(kernels?|bias(es)?|weights?)(_\d+)?$")
RESERVED = ("self", "keras", "np", "tf", "t", "inputs", "batch")
# By what is done; for a sum, a reduction and an activation by the function.
WORDS = {
    "product": "product", "convolution": "filtered", "depthwise": "filtered", "softmax": "shares",
    "slice": "part", "pick": "part", "item": "part", "concatenate": "joined", "stack": "stacked",
    "reshape": "reshaped", "transpose": "transposed", "gather": "gathered", "split": "parts",
    "unstack": "steps", "cumsum": "running", "argmax": "best", "cast": "cast", "pool": "pooled",
    "broadcast": "start", "kept": "found", "leaky_relu": "active",
    "Sum": "total", "Mean": "mean", "Max": "highest", "Min": "lowest", "Prod": "multiplied",
    "AddV2": "total", "Mul": "scaled", "Sub": "difference", "RealDiv": "ratio",
    "Sigmoid": "gate", "Tanh": "squashed", "Relu": "active", "Exp": "exponent",
    "Maximum": "larger", "Minimum": "smaller", "Square": "square", "Sqrt": "root",
}  # fmt: skip


class ValueNames:
    """Gives out names, each once.

    Args:
        taken: names that are in use.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._counts = Counter([*RESERVED, *taken])

    def of(self, statement: Statement) -> str:
        """A name for what a statement computes: its weight's, or what it does."""
        function = statement.attributes.get("function", statement.op)
        base = WORDS.get(function, WORDS.get(statement.op, function.lower()))
        weights = [place for kind, place in statement.inputs if kind == "weight"]
        if weights and (statement.op in KERNELS or function == "AddV2"):
            base = ROLE.sub("", weights[0]) or base
        return self.unused(base)

    def unused(self, base: str) -> str:
        """A name like this one that is not in use."""
        base = base if base.isidentifier() else "value"
        self._counts[base] += 1
        name = base if self._counts[base] == 1 else f"{base}_{self._counts[base]}"
        return name if name == base or name not in self._counts else self.unused(name)
