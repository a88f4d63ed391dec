"""Make slow layers fast: rewrite them automatically, or replace them with another layer."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Rewrite": ".replacement",
        "Rewriting": ".rewriting",
        "replace_layers": ".replacement",
        "rewrite": ".models",
    },
)
