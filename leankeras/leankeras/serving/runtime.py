"""The runtime that MLServer loads: a file, behind a cache and a batcher."""

import asyncio
from functools import partial
from pathlib import Path

from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.settings import ModelSettings
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    Parameters,
    ResponseOutput,
)
from mlserver.utils import get_model_uri

from leankeras.errors import DataError
from leankeras.serving.batcher import Batcher, OverloadError, WorkerDiedError
from leankeras.serving.cache import Cache, hash_of
from leankeras.serving.engine import Batch, Engine, Tensor, open_engine
from leankeras.serving.tensors import DATATYPES, MOST_SAMPLES, check_answer, read_batch
from leankeras.serving.worker import Worker

AT_ONCE = 0.0002  # seconds; a shorter run is not worth the way to another thread and back


class ServedModel(MLModel):
    """A ``.tflite`` file or a SavedModel in MLServer.

    Of ``model-settings.json`` it uses ``max_batch_size`` and ``max_batch_time``, and of its
    ``parameters.extra``: ``cache`` (answers to keep), ``workers`` (processes to run the file in; 0
    for the server's own) and ``threads`` (of the file). The arrays in requests and answers are
    NumPy's, as ``rest`` and ``rpc`` make them.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._batch_size = max(1, settings.max_batch_size)
        self._batch_seconds = settings.max_batch_time
        settings.max_batch_size = 0  # or MLServer would put its own batcher before this one
        super().__init__(settings)

    async def load(self) -> bool:
        """Open the file; see :class:`leankeras.serving.engine.Engine` for what it tries."""
        extra = self.settings.parameters.extra
        path = Path(await get_model_uri(self.settings))
        options = {"threads": extra.get("threads", 1), "batch_size": self._batch_size}
        workers = range(extra.get("workers", 0))
        engines: list[Engine | Worker] = [
            await asyncio.to_thread(partial(Worker, path, MOST_SAMPLES, **options)) for _ in workers
        ] or [await asyncio.to_thread(partial(open_engine, path, **options))]
        first = engines[0]
        self._takes, self._gives = first.inputs, first.outputs
        self.inputs, self.outputs = map(_metadata, (first.inputs, first.outputs))
        largest = max(first.seconds)
        self._batcher = Batcher(largest, self._batch_seconds if largest > 1 else 0.0)
        quick = not workers and first.seconds[largest] < AT_ONCE
        self._working = [
            asyncio.create_task(self._batcher.work(engine, quick, engine.open if workers else None))
            for engine in engines
        ]
        size = extra.get("cache", 0)
        self._cache = Cache(size) if size else None
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request.

        Raises:
            MLServerError: with status 400 for a request that the file does not take, 503 if it
                was refused or lost and may be sent again.
        """
        try:
            batch = read_batch(
                self._takes,
                ((each.name, each.datatype, each.shape, each.data) for each in payload.inputs),
            )
            wanted = self._wanted(payload)
            answer = await self._answer(batch)
            check_answer(answer)
        except DataError as error:
            raise MLServerError(str(error)) from error
        except (OverloadError, WorkerDiedError) as error:
            raise MLServerError(str(error), 503) from error
        return InferenceResponse.model_construct(
            model_name=self.name,
            outputs=[
                ResponseOutput.model_construct(
                    name=tensor.name,
                    shape=list(answer[tensor.name].shape),
                    datatype=DATATYPES[tensor.dtype],
                    data=answer[tensor.name],
                )
                for tensor in wanted
            ],
        )

    def _wanted(self, payload: InferenceRequest) -> list[Tensor]:
        if not payload.outputs:
            return self._gives
        known = {tensor.name: tensor for tensor in self._gives}
        names = [each.name for each in payload.outputs]
        if unknown := [name for name in names if name not in known]:
            raise DataError(f"output {unknown[0]!r:.60} is unknown; expected {', '.join(known)}")
        return [known[name] for name in dict.fromkeys(names)]

    async def _answer(self, batch: Batch) -> Batch:
        if self._cache is None:
            return await self._batcher.submit(batch)
        key = hash_of(batch)
        answer = self._cache.get(key)
        if answer is None:
            answer = self._cache[key] = await self._batcher.submit(batch)
        return answer


def _metadata(tensors: list[Tensor]) -> list[MetadataTensor]:
    return [
        MetadataTensor(
            name=tensor.name,
            datatype=DATATYPES[tensor.dtype],
            shape=[-1, *tensor.shape],
            parameters=Parameters(scale=tensor.scale, zero_point=tensor.zero_point)
            if tensor.scale
            else None,
        )
        for tensor in tensors
    ]
