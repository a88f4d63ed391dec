"""Find what makes a layer slow or hard to deploy, by reading its source and by running it."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "diagnose": ".diagnosis",
    },
)
