"""Start TensorFlow and LiteRT without the page of notices they print before they can be silenced.

TensorFlow also gets a gradient registry that forgets: see :mod:`leankeras.gradient_registry`.
"""

import contextlib
import importlib.abc
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # C++ notices off, warnings and errors on


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Hold back standard error, that of C++ too, and show it only after a failure."""
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(real, kept.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)


class _StartTensorFlow(importlib.abc.MetaPathFinder):
    """Silences the first import of TensorFlow, by any module, and its search for devices.

    Python's notices ("Assets written to ...") are silenced too; its warnings stay.
    """

    def find_spec(self, name, path, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            load = spec.loader.exec_module

            def load_hushed(module):
                with hushed():
                    load(module)
                    module.config.list_physical_devices()
                module.get_logger().setLevel("WARNING")
                _forget_graphs()

            spec.loader.exec_module = load_hushed
        return spec


def _forget_graphs() -> None:
    from leankeras import gradient_registry  # imports TensorFlow

    gradient_registry.install()


def install() -> None:
    """Silence the coming import of TensorFlow, unless it has happened; make its registry forget."""
    if "tensorflow" in sys.modules:
        _forget_graphs()
    else:
        sys.meta_path.insert(0, _StartTensorFlow())
