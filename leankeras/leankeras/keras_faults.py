"""Two faults of Keras 3.15 that a model meets in deployment only, put right while it is traced.

Both are silent. At batch 1 a sum may add an array along another axis than it does in training; a
recurrence that is unrolled and runs backwards takes the mask of its outputs the wrong way round.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import keras
import tensorflow as tf
from keras.src import backend

_add, _rnn = backend.numpy.add, backend.rnn


@contextmanager
def without_faults() -> Iterator[None]:
    """Let Keras add and recur rightly at batch 1, unrolled, for as long as the context is open.

    Example:
        >>> with without_faults():
        ...     outputs = model(sample, training=False)
    """
    with (
        patch.object(backend.numpy, "add", _broadcasting_add),
        patch.object(backend, "rnn", _rnn_backwards),
    ):
        yield


def _broadcasting_add(x1: Any, x2: Any) -> Any:
    """A sum; Keras takes ``x2`` for a bias of the last axis if only one of its axes is not 1.

    That of one sample of shape ``(n, 1)`` is such an array: it belongs to the axis before.
    """
    shape, last = getattr(x2, "shape", ()), getattr(x1, "shape", ())[-1:]
    flat, alone = len(shape) < 2, len(shape) > 2 and all(size == 1 for size in shape[:-1])
    if flat or (alone and shape[-1:] == last):
        return _add(x1, x2)  # it is a bias, which a convolution takes in
    dtype = keras.backend.result_type(*(getattr(each, "dtype", type(each)) for each in (x1, x2)))
    return tf.add(*(keras.ops.convert_to_tensor(each, dtype) for each in (x1, x2)))


def _rnn_backwards(
    step_function: Any,
    inputs: Any,
    initial_states: Any,
    go_backwards: bool = False,
    mask: Any = None,
    **options: Any,
) -> Any:
    """A recurrence that turns its inputs and mask round; Keras, unrolled, forgets the mask."""
    if go_backwards and mask is not None:
        turn = partial(keras.ops.flip, axis=0 if options.get("time_major") else 1)
        inputs, mask = keras.tree.map_structure(turn, inputs), turn(mask)
        go_backwards = False
    return _rnn(step_function, inputs, initial_states, go_backwards, mask, **options)
