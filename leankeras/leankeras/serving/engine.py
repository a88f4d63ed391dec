"""A model file that takes batches: a ``.tflite`` by LiteRT alone, a SavedModel by TensorFlow."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leankeras.arrays import invent
from leankeras.errors import ModelError, one_line
from leankeras.runtime import LiteRTModel, TFLiteFile
from leankeras.startup import hushed

Batch = dict[str, np.ndarray]
Run = Callable[[Batch], Batch]

WORTHWHILE = 0.9  # a batch has to take less than this of the time that its parts take
NEARLY = 0.85  # a size is left out if the next larger one takes hardly longer
TRIALS = 5


@dataclass(frozen=True)
class Tensor:
    """An input or output of a file.

    Attributes:
        name: as in the file's signature.
        dtype: the file's own type, such as ``"float32"`` or ``"int8"``.
        shape: of one sample, without the batch axis.
        scale, zero_point: of a quantized tensor; a scale of 0 otherwise.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0


class Engine(ABC):
    """A file ready to run batches.

    Larger batches than one sample are run at once only if that is faster here and the answers are
    the same as one by one, to the last bit. Both are tried when it opens.

    Attributes:
        inputs: the tensors it takes.
        outputs: the tensors it gives.
        seconds: batch size to the time it takes; only sizes that are used.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]

    def __init__(self, batch_size: int, sizes: Sequence[int] | None = None) -> None:
        """Get ready for batches of up to ``batch_size``, or for these ``sizes`` as tried before."""
        self._runs: dict[int, Run] = {1: self._prepare(1)}
        self.seconds: dict[int, float] = {1: 0.0}
        if sizes is None:
            self._try_sizes(batch_size)
        else:
            self._runs |= {size: self._prepare(size) for size in sizes if size > 1}
            self.seconds = dict.fromkeys(sorted(self._runs), 0.0)

    @abstractmethod
    def _prepare(self, size: int) -> Run:
        """A function that runs batches of exactly this size.

        Raises:
            ModelError: the file cannot take batches of this size.
        """

    @property
    def largest(self) -> int:
        """The largest number of samples that are run at once."""
        return max(self._runs)

    def __call__(self, batch: Batch) -> Batch:
        """Run any number of samples.

        Args:
            batch: arrays ``(n, ...)`` in the file's own types, by name.

        Returns:
            Arrays ``(n, ...)`` in the file's own types, by name.
        """
        count = len(next(iter(batch.values())))
        parts = []
        for start in range(0, count, self.largest):
            part = {name: array[start : start + self.largest] for name, array in batch.items()}
            parts.append(self._run_part(part, min(self.largest, count - start)))
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_part(self, part: Batch, count: int) -> Batch:
        size = next(size for size in sorted(self._runs) if size >= count)
        if size > count:
            part = {name: _padded(array, size) for name, array in part.items()}
        return {name: array[:count] for name, array in self._runs[size](part).items()}

    def _try_sizes(self, batch_size: int) -> None:
        random = np.random.default_rng(0)
        samples = {
            tensor.name: invent((batch_size, *tensor.shape), tensor.dtype, random)
            for tensor in self.inputs
        }
        single = self._runs[1]
        one_by_one = [single(_rows(samples, k, k + 1)) for k in range(batch_size)]
        self.seconds[1] = _seconds(single, _rows(samples, 0, 1))
        sizes = sorted({batch_size, *(2**k for k in range(1, batch_size.bit_length()))} - {1})
        kept: int | None = None
        for size in reversed([size for size in sizes if size <= batch_size]):
            try:
                run = self._prepare(size)
                answers = run(_rows(samples, 0, size))
            except (ModelError, RuntimeError, ValueError):
                return  # the sizes of some operators are fixed in the file
            if not all(_same(answers, each, k) for k, each in enumerate(one_by_one[:size])):
                continue
            seconds = _seconds(run, _rows(samples, 0, size))
            pays = seconds < WORTHWHILE * size * self.seconds[1]
            if pays and (kept is None or seconds < NEARLY * self.seconds[kept]):
                self._runs[size], self.seconds[size], kept = run, seconds, size


class LiteRTEngine(Engine):
    """A ``.tflite`` file, run by LiteRT without TensorFlow.

    Args:
        path: the file; its weights are read in place.
        threads: CPU threads.
        batch_size: the largest batch to try.
        sizes: the sizes to use, if they have been tried before.

    Raises:
        ModelError: the file is not a .tflite, or takes more than one sample at a time.

    Example:
        >>> engine = LiteRTEngine("model.tflite", threads=1, batch_size=32)
        >>> engine({"x": x_test[:7]})
    """

    def __init__(
        self, path: Path, threads: int, batch_size: int, sizes: Sequence[int] | None = None
    ) -> None:
        opened = LiteRTModel(path, threads)
        sides = (opened.input_details, opened.output_details)
        for name, details in opened.input_details.items():
            if tuple(details["shape"][:1]) != (1,):
                raise ModelError(
                    f"{path}: input {name} has shape {tuple(details['shape'])}; expected a batch "
                    "axis of 1, so convert the model with leankeras.convert"
                )
        self.inputs, self.outputs = ([_tensor(*each) for each in side.items()] for side in sides)
        self._path, self._threads = path, threads
        file = TFLiteFile(path)
        self._indices = (file.inputs, file.outputs)
        self._stateful = any(tensor.variable for tensor in file.tensors)
        super().__init__(batch_size, sizes)

    def _prepare(self, size: int) -> Run:
        # not at module level: another process that only asks must not load LiteRT
        from ai_edge_litert.interpreter import Interpreter

        inputs, outputs = self._indices
        with hushed():  # LiteRT announces its delegate, and complains of sizes it cannot take
            interpreter = Interpreter(model_path=str(self._path), num_threads=self._threads)
            if size > 1:
                for tensor in self.inputs:
                    shape = [size, *tensor.shape]
                    interpreter.resize_tensor_input(inputs[tensor.name], shape, strict=False)
            interpreter.allocate_tensors()

        def run(batch: Batch) -> Batch:
            if self._stateful:
                interpreter.reset_all_variables()
            for name, array in batch.items():
                interpreter.set_tensor(inputs[name], array)
            interpreter.invoke()
            return {name: interpreter.get_tensor(index) for name, index in outputs.items()}

        return run


class SavedModelEngine(Engine):
    """A SavedModel of one signature, run by TensorFlow; arguments as for :class:`LiteRTEngine`.

    Raises:
        ModelError: it cannot be loaded, or has no signature or several, or one that takes strings
            or shapes that are open elsewhere than in the batch axis.
    """

    def __init__(
        self, path: Path, threads: int, batch_size: int, sizes: Sequence[int] | None = None
    ) -> None:
        # TensorFlow reads it when it starts, and can be told no more once it has
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow raises a dozen kinds for a damaged directory
            raise ModelError(
                f"{path}: not a usable SavedModel ({one_line(error)}); write it again with "
                "model.export(directory)"
            ) from error
        signatures = dict(self._loaded.signatures)
        if "serving_default" in signatures:
            signatures.pop("serve", None)  # model.export gives its one signature both names
        if len(signatures) != 1:
            raise ModelError(
                f"{path}: a SavedModel of {len(signatures)} signatures "
                f"({', '.join(sorted(signatures)) or 'none'}); expected exactly one, so export it "
                "with one"
            )
        ((_, self._function),) = signatures.items()
        specs = self._function.structured_input_signature[1]
        self._fixed = any(spec.shape[:1] != [None] for spec in specs.values())
        self.inputs = [_saved(path, name, spec) for name, spec in specs.items()]
        outputs = self._function.structured_outputs
        self.outputs = [_saved(path, name, spec) for name, spec in outputs.items()]
        super().__init__(batch_size, sizes)

    def _prepare(self, size: int) -> Run:
        import tensorflow as tf

        if size > 1 and self._fixed:
            raise ModelError("its batch axis is fixed")

        def run(batch: Batch) -> Batch:
            outputs = self._function(**{name: tf.constant(batch[name]) for name in batch})
            return {name: tensor.numpy() for name, tensor in outputs.items()}

        return run


def open_engine(
    path: Path, threads: int = 1, batch_size: int = 1, sizes: Sequence[int] | None = None
) -> Engine:
    """The engine for a file: a SavedModel if it is a directory, else a ``.tflite``.

    Raises:
        ModelError: the file cannot be served.
    """
    kind = SavedModelEngine if path.is_dir() else LiteRTEngine
    return kind(path, threads, batch_size, sizes)


def _tensor(name: str, details: dict) -> Tensor:
    scale, zero_point = details["quantization"]
    shape = tuple(int(size) for size in details["shape"][1:])
    return Tensor(name, np.dtype(details["dtype"]).name, shape, float(scale), int(zero_point))


def _saved(path: Path, name: str, spec: Any) -> Tensor:
    if spec.dtype.name == "string" or spec.shape.rank in (None, 0) or None in spec.shape[1:]:
        raise ModelError(
            f"{path}: {name} has type {spec.dtype.name} and shape {spec.shape}; expected numbers "
            "with a batch axis and otherwise fixed sizes"
        )
    return Tensor(name, spec.dtype.name, tuple(spec.shape[1:]))


def _rows(batch: Batch, start: int, end: int) -> Batch:
    return {name: array[start:end] for name, array in batch.items()}


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    filled = np.zeros((size, *array.shape[1:]), array.dtype)
    filled[: len(array)] = array
    return filled


def _same(batch: Batch, single: Batch, row: int) -> bool:
    return all(
        len(batch[name]) > row and batch[name][row].tobytes() == single[name][0].tobytes()
        for name in single
    )


def _seconds(run: Run, batch: Batch) -> float:
    """The shortest of some runs: what the file takes when nothing else does."""
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    return min(times)
