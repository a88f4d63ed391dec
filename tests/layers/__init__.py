"""Custom layers taken as patterns from what people write, for tests and benchmarks alike."""

from tests.layers import attention, convolutions, routing, sequences
from tests.layers.pattern import Pattern
from tests.layers.well_written import WELL_WRITTEN

PATTERNS = [
    *convolutions.PATTERNS,
    *attention.PATTERNS,
    *routing.PATTERNS,
    *sequences.PATTERNS,
]

__all__ = ["PATTERNS", "WELL_WRITTEN", "Pattern"]
