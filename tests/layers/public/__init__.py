"""Layers like those in public code, each rewritten from scratch, to measure the diagnosis on.

Those of the first three modules were known while the rules were written; the later rounds show
what the rules say about layers that nobody had looked at.
"""

from tests.layers.public.features import FEATURES
from tests.layers.public.fourth_round import FOURTH
from tests.layers.public.last_round import LAST
from tests.layers.public.public import Public
from tests.layers.public.second_round import SECOND
from tests.layers.public.sequences import SEQUENCES
from tests.layers.public.third_round import THIRD
from tests.layers.public.vision import VISION

ROUNDS = [[*VISION, *SEQUENCES, *FEATURES], SECOND, THIRD, FOURTH, LAST]
PUBLIC = [layer for layers in ROUNDS for layer in layers]

__all__ = ["PUBLIC", "ROUNDS", "Public"]
