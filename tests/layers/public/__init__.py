"""Layers as they stand in public code, each written anew: what the diagnosis is measured on."""

from tests.layers.public.features import FEATURES
from tests.layers.public.more import MORE
from tests.layers.public.public import Public
from tests.layers.public.sequences import SEQUENCES
from tests.layers.public.vision import VISION

PUBLIC = [*VISION, *SEQUENCES, *FEATURES, *MORE]

__all__ = ["PUBLIC", "Public"]
