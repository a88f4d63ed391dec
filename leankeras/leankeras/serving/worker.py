"""A file run in a process of its own, which may crash without taking the server with it."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from leankeras.child import Child, ChildDied
from leankeras.errors import JobError, ModelError
from leankeras.serving.batcher import WorkerDiedError
from leankeras.serving.engine import Batch, Engine, Tensor, open_engine

SHARED = Path("/dev/shm")  # memory, where there is such a place

_opened: dict[str, Engine] = {}  # in the child: the one engine that it runs


def describe(path: str, **options: Any) -> dict:
    """Job: open a file and say what it takes and gives."""
    _opened.clear()
    engine = _opened[path] = open_engine(Path(path), **options)
    return {
        "inputs": list(map(asdict, engine.inputs)),
        "outputs": list(map(asdict, engine.outputs)),
        "seconds": sorted(engine.seconds.items()),
    }


def run(path: str, buffers: list[str], count: int, **options: Any) -> None:
    """Job: run the samples in the first buffer and leave the answers in the second."""
    if path not in _opened:  # this child was started for one that died while it had nothing to do
        describe(path, **options)
    engine = _opened[path]
    given, left = (np.memmap(buffer, np.uint8, "r+") for buffer in buffers)
    answer = engine(_views(given, engine.inputs, count))
    for name, view in _views(left, engine.outputs, count).items():
        view[:] = answer[name]


class Worker:
    """A file in a child process; takes batches like an :class:`Engine`.

    Args:
        path: the file.
        options: ``threads`` and ``batch_size`` of the engine.
        most: the largest number of samples in a call.

    Raises:
        ModelError: the file cannot be served.
    """

    def __init__(self, path: Path, most: int, sizes: Sequence[int] | None = None, **options: Any):
        self._arguments = {"path": str(path), "sizes": sizes, **options}
        self._child = Child("leankeras.serving.worker")
        self.open()
        self._folder = tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None)
        self._files = [Path(self._folder.name, name) for name in ("inputs", "outputs")]
        for file, tensors in zip(self._files, (self.inputs, self.outputs), strict=True):
            with file.open("wb") as opened:
                opened.truncate(sum(_aligned(tensor, most) for tensor in tensors))
        self._given, self._left = (np.memmap(file, np.uint8, "r+") for file in self._files)

    def open(self) -> None:
        """Have the child open the file; a new child, if the last one has died."""
        try:
            told = self._child.request("describe", **self._arguments)
        except (JobError, ChildDied) as error:
            raise ModelError(
                f"{self._arguments['path']}: a worker cannot open it ({error})"
            ) from error
        self.inputs, self.outputs = (
            [Tensor(**{**each, "shape": tuple(each["shape"])}) for each in told[side]]
            for side in ("inputs", "outputs")
        )
        self.seconds = dict(map(tuple, told["seconds"]))
        self._arguments["sizes"] = list(self.seconds)  # what was tried need not be tried again

    def __call__(self, batch: Batch) -> Batch:
        """Run samples in the child.

        Raises:
            WorkerDiedError: the child died meanwhile; :meth:`open` starts another one.
        """
        count = len(next(iter(batch.values())))
        for name, view in _views(self._given, self.inputs, count).items():
            view[:] = batch[name]
        buffers = list(map(str, self._files))
        try:
            self._child.request("run", **self._arguments, buffers=buffers, count=count)
        except ChildDied as died:
            raise WorkerDiedError(f"the worker that ran it {died}; send it again") from died
        return {name: view.copy() for name, view in _views(self._left, self.outputs, count).items()}

    def close(self) -> None:
        """End the child."""
        self._child.close()
        self._folder.cleanup()


def _aligned(tensor: Tensor, count: int) -> int:
    size = count * int(np.prod(tensor.shape, dtype=int)) * np.dtype(tensor.dtype).itemsize
    return -(-size // 64) * 64


def _views(buffer: np.ndarray, tensors: list[Tensor], count: int) -> Batch:
    views, start = {}, 0
    for tensor in tensors:
        shape = (count, *tensor.shape)
        size = int(np.prod(shape, dtype=int)) * np.dtype(tensor.dtype).itemsize
        views[tensor.name] = buffer[start : start + size].view(tensor.dtype).reshape(shape)
        start += _aligned(tensor, count)
    return views
