"""Constants as Python: numbers, ranges, tables with a rule, and the rest compressed."""

import base64
import zlib

import numpy as np

from leankeras.rewriting.layout_of_text import WIDTH

MOST_WRITTEN = 16  # numbers that are written out


def constant_text(array: np.ndarray, as_number: bool = False) -> str | None:
    """An expression for a constant, or None if it takes a table of its own.

    Args:
        array: the constant.
        as_number: whether a plain number will do where there is only one.
    """
    plain = array.dtype.name in ("float32", "int32", "bool")
    if plain and array.size == 1 and (as_number or array.shape == ()):
        return _number(array.reshape(()))
    if array.size <= MOST_WRITTEN:
        return f'tf.constant({_nested(array)}, "{array.dtype}")'
    if array.dtype.kind != "i":
        return None
    steps = np.diff(array.ravel())
    if array.ndim == 1 and (steps == steps[0]).all() and steps[0]:
        end = array[-1] + steps[0]
        return f'tf.range({array[0]}, {end}, {steps[0]}, dtype="{array.dtype}")'
    return _circular_table(array) if array.ndim == 2 else None


def packed(name: str, array: np.ndarray) -> list[str]:
    """Lines that define a constant; what is in it can be printed from the running module."""
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
    width = WIDTH - len('    b""')
    return [
        f"{name} = np.frombuffer(zlib.decompress(base64.b64decode(",
        *(f'    b"{data[start : start + width]}"' for start in range(0, len(data), width)),
        f')), "{array.dtype}").reshape({array.shape})',
    ]


def _number(value: np.ndarray) -> str:
    if value.dtype.kind == "f":
        return str(value[()]) if np.isfinite(value) else f'float("{value[()]}")'
    return repr(value.item())


def _nested(array: np.ndarray) -> str:
    if array.shape == ():
        return _number(array)
    return f"[{', '.join(_nested(each) for each in array)}]"


def _circular_table(array: np.ndarray) -> str | None:
    """Places that move on evenly from row to row and from column to column, round and round."""
    if array.min() < 0 or min(array.shape) < 2 or array.dtype.name != "int32":
        return None
    length, first = int(array.max()) + 1, int(array[0, 0])
    down, right = (int(array[place] - first) % length for place in ((1, 0), (0, 1)))
    rows, columns = np.arange(array.shape[0])[:, None], np.arange(array.shape[1])
    if not np.array_equal(array, (down * rows + right * columns + first) % length):
        return None
    down = down - length if down > length / 2 else down
    terms = [
        f"{'-' if factor < 0 else ''}{f'{abs(factor)} * ' if abs(factor) != 1 else ''}{name}"
        for factor, name in (
            (right, f"tf.range({array.shape[1]})"),
            (down, f"tf.range({array.shape[0]})[:, None]"),
        )
        if factor
    ]
    terms += [str(first)] if first else []
    return f"({' + '.join(terms).replace('+ -', '- ')}) % {length}"
