"""Tensors of the V2 protocol as arrays: every request is checked here before it joins a batch.

The protocol is https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from leankeras.errors import DataError
from leankeras.serving.engine import Batch, Tensor

DATATYPES = {
    "bool": "BOOL",
    **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
}
KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}  # what an array may be given as
MOST_SAMPLES = 256  # in a request


def read_tensor(tensor: Tensor, datatype: Any, shape: Any, data: Any) -> np.ndarray:
    """One input of a request as an array in the file's own type.

    Args:
        tensor: what the file takes.
        datatype: the request's datatype, such as ``"FP32"``.
        shape: the request's shape, with the batch axis.
        data: numbers in row-major order, flat or nested, or bytes in little-endian order.

    Returns:
        The array, ``(n, ...)``.

    Raises:
        DataError: the datatype, the shape or the values are not what the file takes.
    """
    expected = DATATYPES[tensor.dtype]
    if datatype != expected:
        raise DataError(f"input {tensor.name} has datatype {datatype!r:.40}; expected {expected}")
    wanted = ", ".join(["n", *map(str, tensor.shape)])
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise DataError(f"input {tensor.name} has shape {shape!r:.60}; expected [{wanted}]")
    if tuple(shape[1:]) != tensor.shape or not shape or not 0 < shape[0] <= MOST_SAMPLES:
        raise DataError(
            f"input {tensor.name} has shape {shape!s:.60}; expected [{wanted}] with n from 1 to "
            f"{MOST_SAMPLES}"
        )
    array = _from_bytes(tensor, data) if isinstance(data, bytes) else _from_list(tensor, data)
    if array.size != math.prod(shape):
        raise DataError(
            f"input {tensor.name} has {array.size} values; its shape {shape} has {math.prod(shape)}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"input {tensor.name} has NaN or infinite values; expected finite numbers")
    return np.ascontiguousarray(array).reshape(shape)


def _from_bytes(tensor: Tensor, data: bytes) -> np.ndarray:
    size = np.dtype(tensor.dtype).itemsize
    if len(data) % size:
        raise DataError(
            f"input {tensor.name} has {len(data)} bytes; expected {size} for each value"
        )
    array = np.frombuffer(data, np.dtype(tensor.dtype).newbyteorder("<"))
    if tensor.dtype == "bool":  # any other byte is no bool, whatever NumPy makes of it
        array = array.view(np.uint8).astype(bool)
    return array.astype(tensor.dtype, copy=False)


def _from_list(tensor: Tensor, data: Any) -> np.ndarray:
    try:
        given = np.asarray(data)
    except (ValueError, OverflowError):  # ragged lists; numbers beyond 64 bits
        given = np.asarray(None)
    dtype = np.dtype(tensor.dtype)
    if given.dtype.kind not in KINDS[dtype.kind] or given.ndim == 0:
        raise DataError(f"input {tensor.name} has data other than a list of {tensor.dtype} values")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if given.size and not (limits.min <= given.min() and given.max() <= limits.max):
            raise DataError(
                f"input {tensor.name} has values outside {tensor.dtype}, {limits.min} to "
                f"{limits.max}"
            )
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the infinite
        return given.astype(dtype)


def read_batch(inputs: Sequence[Tensor], given: Iterable[tuple[Any, Any, Any, Any]]) -> Batch:
    """The inputs of a request as arrays by name.

    Args:
        inputs: what the file takes.
        given: name, datatype, shape and data of each tensor in the request.

    Raises:
        DataError: a name is missing, unknown or given twice, or a tensor is wrong.
    """
    known = {tensor.name: tensor for tensor in inputs}
    batch: Batch = {}
    for name, datatype, shape, data in given:
        if name not in known or name in batch:
            what = "given twice" if name in batch else f"unknown; expected {', '.join(known)}"
            raise DataError(f"input {name!r:.60} is {what}")
        batch[name] = read_tensor(known[name], datatype, shape, data)
    if missing := known.keys() - batch:
        raise DataError(f"input {', '.join(sorted(missing))} is missing")
    if len({len(array) for array in batch.values()}) > 1:
        raise DataError("the inputs differ in their number of samples, the first of each shape")
    return batch


def check_answer(answer: Batch) -> None:
    """Refuse an answer that JSON has no numbers for.

    Raises:
        DataError: an output is NaN or infinite although the inputs are finite.
    """
    for name, array in answer.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"output {name} is NaN or infinite for this input; is its scale right?")
