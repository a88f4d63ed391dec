"""What makes a layer slow or hard to deploy: what reading it and trying it tell."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "diagnose": ".diagnosis",
    },
)
