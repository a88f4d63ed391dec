"""Make slow layers fast: rewrite them automatically, or replace them with another layer."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Forecast": ".forecasting",
        "Rewrite": ".replacement",
        "Rewriting": ".rewriting",
        "forecast": ".forecasting",
        "replace_layers": ".replacement",
        "rewrite": ".models",
    },
)
