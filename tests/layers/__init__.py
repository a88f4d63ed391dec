"""Custom layers modelled on what people write, for tests and benchmarks."""

from tests.layers import (
    attention,
    boxes,
    convolutions,
    graphs,
    indices,
    masks,
    routing,
    sequences,
    several,
)
from tests.layers.pattern import Function, Pattern
from tests.layers.well_written import WELL_WRITTEN

PATTERNS = [
    *convolutions.PATTERNS,
    *attention.PATTERNS,
    *routing.PATTERNS,
    *sequences.PATTERNS,
]
FUNCTIONS = [
    *masks.FUNCTIONS,
    *graphs.FUNCTIONS,
    *indices.FUNCTIONS,
    *boxes.FUNCTIONS,
    *several.FUNCTIONS,
]

__all__ = ["FUNCTIONS", "PATTERNS", "WELL_WRITTEN", "Function", "Pattern"]
