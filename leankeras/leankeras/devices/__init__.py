"""What a file does on another machine: an ARM core, a microcontroller, an NPU, a host by ssh."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "deploy": ".deployment",
        "rollback": ".deployment",
    },
)
