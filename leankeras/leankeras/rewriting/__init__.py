"""Another implementation of a layer, put into a model with the weights it had."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Rewrite": ".replacement",
        "replace_layers": ".replacement",
    },
)
