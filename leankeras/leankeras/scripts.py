"""Running a user's own code, a ``.py`` file or a module, for what it defines."""

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from leankeras.errors import ModelError, one_line


def run_script(path: str | Path) -> ModuleType:
    """Run a file and return its module; its imports are also looked up in its directory.

    Raises:
        ModelError: there is no such file, or it fails.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file; expected a .py file")
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{path} fails when it is run: {one_line(error)}; fix it first") from error
    finally:
        sys.path.remove(folder)
    return module


def import_module(name: str) -> ModuleType:
    """Import a module that registers layers; the working directory is searched, too.

    Its folder stays on the search path, for other processes that need it.

    Args:
        name: such as ``my_layers`` or ``package.layers``, or the path of its ``.py`` file.

    Raises:
        ModelError: there is no such module, or it fails.
    """
    folder, module = Path.cwd(), name
    if name.endswith(".py"):
        path = Path(name).resolve()
        folder, module = path.parent, path.stem
        while (folder / "__init__.py").is_file():
            folder, module = folder.parent, f"{folder.name}.{module}"
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ModelError(f"module {name} cannot be imported: {one_line(error)}") from error


def module_file(name: str) -> Path | None:
    """The file of a module in the working directory; None for one that is installed."""
    if name.endswith(".py"):
        return Path(name)
    path = Path(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None
