"""Channels removed from a model: which depend on each other, which matter, and the surgery."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "channel_sensitivity": ".sensitivity",
        "plan_removal": ".removal",
        "remove_channels": ".removal",
    },
)
