"""Remove channels from a model: dependencies, importance, and the surgery itself."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "channel_sensitivity": ".sensitivity",
        "plan_removal": ".removal",
        "remove_channels": ".removal",
    },
)
