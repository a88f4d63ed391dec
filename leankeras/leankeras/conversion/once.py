"""Models as files, without converting the same one twice."""

import shutil
import weakref
import zlib
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import keras

from leankeras.conversion.tflite import convert
from leankeras.runtime import is_tflite


class Float32Files:
    """Models as float32 ``.tflite`` files, which last as long as this object.

    Example:
        >>> files = Float32Files()
        >>> table, _ = compare_files({"slow": files.of(slow), "fast": files.of(fast)}, data)
    """

    def __init__(self) -> None:
        self._folder = Path(mkdtemp())
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._made: dict[tuple[int, int], tuple[keras.Model, Path]] = {}

    def of(self, target: Any) -> Path:
        """The file of a Keras model, converted once for each state of its weights.

        Args:
            target: a Keras model, or the path of a ``.tflite``, which is returned as it is.

        Raises:
            ConversionError: the model cannot be converted.
        """
        if is_tflite(target):
            return Path(target)
        weights = zlib.crc32(b"".join(weight.tobytes() for weight in target.get_weights()))
        key = id(target), weights  # it may have been trained since
        if key not in self._made:
            path = self._folder / f"{len(self._made)}.tflite"
            self._made[key] = target, convert(target, path, mode="float32").path
        return self._made[key][1]
