"""A file behind a server, MLServer with a runtime of ours, and how much load it takes."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Addresses": ".process",
        "COMMAND": ".process",
        "Repository": ".transport",
        "ServedModel": ".runtime",
        "Server": ".process",
        "Serving": ".folder",
        "check_extra": ".folder",
        "write_folder": ".folder",
    },
)
