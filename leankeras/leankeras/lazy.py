"""Public names that are imported on first use, so that importing a package costs nothing."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from leankeras.errors import MissingPackageError

KERAS = ("keras", "tensorflow", "tf_keras", "tensorflow_model_optimization")


def face(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The ``__getattr__``, ``__dir__`` and ``__all__`` of a package with these public names.

    Args:
        package: its ``__name__``.
        homes: maps each public name to the module that defines it: an absolute name, or one
            inside the package with a leading dot.

    Example:
        >>> __getattr__, __dir__, __all__ = face(__name__, {"convert": ".tflite"})
    """
    names = sorted(homes)

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(homes[name], package), name)
        except ModuleNotFoundError as error:
            if error.name not in KERAS:
                raise
            raise MissingPackageError(
                f"{name} needs {error.name}, which a bare installation leaves out; install "
                "leankeras[keras]"
            ) from error
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: names, names
