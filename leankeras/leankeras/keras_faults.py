"""Faults of Keras 3.15 that a model meets in deployment only, put right while it is traced.

All are silent. At batch 1 a sum may add an array along another axis than it does in training; a
recurrence that is unrolled and runs backwards takes the mask of its outputs the wrong way round;
and a vector of zeros is normalized by way of an infinity, which LiteRT takes for NaN.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import keras
import tensorflow as tf
from keras.src import backend
from keras.src.ops import nn

_add, _rnn, _normalize = backend.numpy.add, backend.rnn, nn._normalize


@contextmanager
def without_faults() -> Iterator[None]:
    """Let Keras add, recur and normalize rightly for as long as the context is open.

    Example:
        >>> with without_faults():
        ...     outputs = model(sample, training=False)
    """
    with (
        patch.object(backend.numpy, "add", _broadcasting_add),
        patch.object(backend, "rnn", _rnn_backwards),
        patch.object(nn, "_normalize", _finite_normalize),
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


def _finite_normalize(x: Any, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> Any:
    """Keras's ``min(1 / sqrt(sum), 1 / epsilon)``, limited before the root and not after it.

    The converter has an operator for this, which normalizes along the last axis, whatever the axis.
    """
    axes = axis if isinstance(axis, list | tuple) else [axis]
    last = [each % max(len(x.shape), 1) for each in axes] == [len(x.shape) - 1]
    if order != 2 or not last:
        return _normalize(x, axis, order, epsilon)
    least = (keras.config.epsilon() if epsilon is None else epsilon) ** 2
    squares = keras.ops.sum(keras.ops.square(x), axis, keepdims=True)
    return x * keras.ops.rsqrt(keras.ops.maximum(squares, least))
