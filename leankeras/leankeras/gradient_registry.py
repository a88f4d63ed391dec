"""A registry of gradient functions for TensorFlow that forgets graphs once they are gone.

Each time TensorFlow traces a ``tf.custom_gradient``, it registers a gradient function under a new
name and keeps it until the process ends. The function refers to the graph it was traced in, so the
graph stays as well, with everything it captured. Every training step of Keras has such a gradient
(in the optimizer), as does every ``silu``: each ``fit`` of a network of five layers cost 8 MB. See
https://github.com/tensorflow/tensorflow/issues/97697.
"""

from collections.abc import Callable
from weakref import WeakValueDictionary

from tensorflow.python.eager import context
from tensorflow.python.framework import ops
from tensorflow.python.framework.registry import Registry

TRACED = "CustomGradient-"  # followed by a number; tf.RegisterGradient uses names of operations


class GradientRegistry(Registry):
    """Keeps a graph's gradient functions for as long as the graph lives, and all others forever.

    A function is only looked up while its graph is differentiated or saved, so nothing misses it
    after that. Those of a loaded SavedModel belong to no graph and stay.

    Args:
        known: the registry whose entries to take over.
    """

    __slots__ = ("_traced",)

    def __init__(self, known: Registry) -> None:
        self._name, self._registry = known._name, known._registry
        self._traced: WeakValueDictionary[str, Callable] = WeakValueDictionary()

    def register(self, candidate: Callable, name: str | None = None) -> None:
        """Add a gradient function, as ``tf.RegisterGradient`` does."""
        if name is None or not name.startswith(TRACED) or context.executing_eagerly():
            super().register(candidate, name)
            return
        self._traced[name] = candidate
        graph = ops.get_default_graph()
        if not hasattr(graph, "_traced_gradients"):
            graph._traced_gradients = []
        graph._traced_gradients.append(candidate)

    def lookup(self, name: str | bytes) -> Callable:
        """Find a gradient function by name; raises ``LookupError`` if there is none."""
        text = name.decode() if isinstance(name, bytes) else name
        found = self._traced.get(text)
        return super().lookup(text) if found is None else found


def install() -> None:
    """Replace TensorFlow's own registry; further calls do nothing."""
    if not isinstance(ops.gradient_registry, GradientRegistry):
        ops.gradient_registry = ops._gradient_registry = GradientRegistry(ops.gradient_registry)
