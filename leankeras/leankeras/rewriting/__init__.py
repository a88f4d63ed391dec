"""Replace layers of a model with another implementation, keeping their weights."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Rewrite": ".replacement",
        "replace_layers": ".replacement",
    },
)
