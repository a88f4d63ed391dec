"""A file behind a server, MLServer with a runtime of ours, and how much load it takes."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Repository": ".repository",
        "ServedModel": ".runtime",
        "Server": ".process",
        "Serving": ".folder",
        "ask_all": ".load",
        "check_extra": ".folder",
        "compare_servings": ".load",
        "hash_seconds": ".load",
        "load_test": ".load",
        "open_engine": ".engine",
        "rising_load": ".load",
        "serve": ".process",
        "write_folder": ".folder",
    },
)
