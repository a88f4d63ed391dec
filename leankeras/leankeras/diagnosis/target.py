"""The target of a diagnosis: a layer, a class, a model, or a path to one of them."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from leankeras.errors import ModelError, one_line
from leankeras.runtime import load_keras
from leankeras.scripts import import_module, run_script

FORMS = "expected a layer, a layer class, a model, FILE.py:Class, module:Class or a .keras file"


@dataclass(frozen=True)
class Target:
    """The layer or class to diagnose.

    Args:
        name: its name in the diagnosis.
        cls: its class.
        layer: an instance, or None if the class could not be instantiated.
        untried: why there is no instance.
    """

    name: str
    cls: type
    layer: keras.Layer | None
    untried: str = ""


def resolve(target: Any) -> Target:
    """Find the target, running a ``FILE.py`` and opening a ``.keras`` file in safe mode.

    Raises:
        ModelError: it is in none of the forms, cannot be found, or fails when loaded.
    """
    if isinstance(target, (str, Path)):
        found = _load(str(target))
        name = str(target)
    else:
        found, name = target, getattr(target, "name", getattr(target, "__name__", ""))
    if isinstance(found, keras.Layer):
        return Target(name, type(found), found)
    if isinstance(found, type) and issubclass(found, keras.Layer):
        return _instance(found, name)
    raise ModelError(f"{target} is a {type(found).__name__}; {FORMS}")


def _instance(cls: type, name: str) -> Target:
    needed = [
        parameter.name
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    if needed:
        untried = f"{cls.__name__} needs the constructor arguments {', '.join(needed)}"
        return Target(name, cls, None, untried)
    # A constructor is the user's code and may raise anything.
    try:
        return Target(name, cls, cls())
    except (Exception, SystemExit) as error:
        raise ModelError(f"{cls.__name__}() fails: {one_line(error)}") from error


def _load(path: str) -> Any:
    if path.endswith((".keras", ".h5", ".hdf5")):
        return load_keras(path)
    module_name, colon, attribute = path.rpartition(":")
    if not colon or not attribute.isidentifier():
        raise ModelError(f"{path}: {FORMS}")
    is_file = module_name.endswith(".py")
    module = run_script(module_name) if is_file else import_module(module_name)
    if not hasattr(module, attribute):
        classes = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, keras.Layer)
        ]
        raise ModelError(
            f"{module_name} has no {attribute}; its layer classes are "
            f"{', '.join(classes) or 'none'}"
        )
    return getattr(module, attribute)
