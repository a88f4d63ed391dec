"""Running a user's own code for what it defines: a ``.py`` file or a module."""

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from leankeras.errors import ModelError, one_line


def run_script(path: str | Path) -> ModuleType:
    """Run a file and return its module; its own imports are found beside it.

    Raises:
        ModelError: no such file, or it fails.
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
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{path} fails when it is run: {type(error).__name__}: {reason}; mend it first"
        ) from error
    finally:
        sys.path.remove(folder)
    return module


def import_module(name: str) -> ModuleType:
    """Import a module, one in the working directory too.

    Raises:
        ModelError: there is none of that name, or it fails.
    """
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ModelError(f"module {name} cannot be imported: {one_line(error)}") from error
    finally:
        sys.path.remove(here)
