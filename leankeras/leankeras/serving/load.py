"""How much load a server takes, measured by locust in a process of its own."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leankeras.arrays import Arrays, count_samples, named_or_listed
from leankeras.child import package_environment
from leankeras.errors import MeasurementError, ParameterError
from leankeras.files import scratch_directory
from leankeras.runtime import quantized
from leankeras.serving.cache import hash_of
from leankeras.serving.engine import Batch, Engine, Tensor
from leankeras.serving.folder import Serving, check_extra
from leankeras.serving.process import Server
from leankeras.serving.tensors import DATATYPES

START_SECONDS = 60  # for locust to start, and for the last answers
DRAWS = 50_000  # of samples, after which their order repeats
BROKEN = 0.8  # a rate is more than the server can take if a smaller share is answered in time


def load_test(
    server: Server,
    samples: Arrays | None = None,
    *,
    users: int | None = None,
    rate: float | None = None,
    seconds: float = 5.0,
    warm_up: float = 1.0,
    zipf: float | None = None,
    check: bool = True,
) -> pd.Series:
    """Load on a server, and what it did with it.

    Args:
        server: the server.
        samples: arrays ``(n, ...)``, each sample a request of its own; without them, a page that
            needs no work is asked for.
        users: a closed loop: so many send the next request when the last one is answered, and a
            slow server slows its own load down.
        rate: an open loop: requests arrive at this many a second, at random (Poisson), however
            many are unanswered.
        seconds: how long is measured.
        warm_up: seconds before that.
        zipf: how much more often some samples are sent than others: the k-th in proportion to
            ``k ** -zipf``; by default each in turn.
        check: compare every answer with the file's own.

    Returns:
        ``offered`` and ``answered`` (requests a second), ``p50_ms``, ``p95_ms`` and ``p99_ms`` of
        the answered ones (from when they were due), ``late_ms`` (the 99th percentile of how late
        the generator itself was), ``refused`` (a share), ``failed`` and ``wrong`` (numbers), and
        ``repeats``, the share of requests that were sent before. A request counts when it ends; a
        failed one got no answer, or status other than 200 and 503.

    Raises:
        ParameterError: neither users nor a rate, or both.
        DataError: samples that the file does not take.
        MeasurementError: nothing was sent.

    Example:
        >>> load_test(server, x_test, rate=500)
    """
    check_extra("locust")
    if (users is None) == (rate is None):
        raise ParameterError(f"saw users {users} and rate {rate}; expected one of them")
    inputs = server.engine.inputs
    batch = None if samples is None else file_batch(inputs, samples)
    count = count_samples(batch) if batch else 1
    with scratch_directory() as folder:
        spec = {
            "url": server.at.url if batch else server.at.live,
            "bodies": batch and _lines(folder / "bodies", _bodies(inputs, batch)),
            "answers": _lines(folder / "answers", _flat(server.engine(batch)))
            if batch and check
            else None,
            "order": _order(count, zipf),
            "users": users,
            "rate": rate,
            "seconds": warm_up + seconds,
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        rows = _run(folder / "spec.json", folder / "rows.npz")
    begin = rows["start"] + warm_up
    ended = rows["begun"] + rows["seconds"]
    counted = (ended >= begin) & (ended < begin + seconds)
    if not counted.any():
        raise MeasurementError("no request ended after warming up; measure for longer")
    latency, status = rows["seconds"][counted], rows["status"][counted]
    times = 1000 * latency[status == 200]
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) if len(times) else [np.nan] * 3
    due = (rows["begun"] >= begin) & (rows["begun"] < begin + seconds)
    return pd.Series(
        {
            "offered": due.sum() / seconds,
            "answered": len(times) / seconds,
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
            "late_ms": 1000 * np.percentile(rows["late"][counted], 99),
            "refused": (status == 503).mean(),
            "failed": int(((status != 200) & (status != 503)).sum()),
            "wrong": int(rows["wrong"].sum()),
            "repeats": rows["repeated"][due].mean(),
        }
    )


def rising_load(
    server: Server, samples: Arrays, rates: Sequence[float], **more: Any
) -> pd.DataFrame:
    """The open loop of :func:`load_test` at rising rates, until the server takes no more.

    Returns:
        Indexed by ``rate``; the last row may be the first that was too much.
    """
    rows = {}
    for rate in sorted(rates):
        rows[rate] = load_test(server, samples, rate=rate, **more)
        if rows[rate].answered < BROKEN * rows[rate].offered:
            break
    return pd.DataFrame(rows).T.rename_axis("rate")


def compare_servings(
    file: Path, samples: Arrays, servings: Mapping[str, Serving], **more: Any
) -> pd.DataFrame:
    """The same load on the same file served in several ways, one after another.

    Args:
        file: the ``.tflite`` or SavedModel.
        samples: as for :func:`load_test`.
        servings: how it is served, by name.
        more: other arguments of :func:`load_test`.
    """
    rows = {}
    for name, serving in servings.items():
        with Server(file, serving) as server:
            rows[name] = load_test(server, samples, **more)
    return pd.DataFrame(rows).T.rename_axis("serving")


async def ask_all(server: Server, samples: Arrays, at_once: int) -> Batch:
    """The answers to samples, each a request of its own, from an asynchronous client by gRPC.

    Args:
        server: the server.
        samples: arrays ``(n, ...)``.
        at_once: how many requests are awaited together; 1 waits for each before the next.

    Returns:
        Arrays ``(n, ...)`` by output.

    Example:
        >>> answers = await ask_all(server, x_test, at_once=32)
    """
    from tritonclient.grpc import InferInput
    from tritonclient.grpc.aio import InferenceServerClient

    inputs = server.engine.inputs
    batch = file_batch(inputs, samples)

    async def ask(k: int) -> Any:
        tensors = []
        for tensor in inputs:
            array = batch[tensor.name][k : k + 1]
            tensors.append(InferInput(tensor.name, list(array.shape), DATATYPES[tensor.dtype]))
            tensors[-1].set_data_from_numpy(array)
        async with places:
            return await client.infer(server.at.name, tensors)

    places = asyncio.Semaphore(at_once)
    async with InferenceServerClient(server.at.grpc) as client:
        answers = await asyncio.gather(*map(ask, range(count_samples(batch))))
    names = [tensor.name for tensor in server.engine.outputs]
    return {name: np.concatenate([each.as_numpy(name) for each in answers]) for name in names}


def hash_seconds(engine: Engine, samples: Arrays) -> float:
    """What the cache's key for one request takes, in seconds: the median over the samples."""
    batch = file_batch(engine.inputs, samples)
    times = []
    for k in range(count_samples(batch)):
        request = {name: array[k : k + 1] for name, array in batch.items()}
        start = time.perf_counter()
        hash_of(request)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def file_batch(inputs: Sequence[Tensor], samples: Arrays) -> Batch:
    """Samples in the file's own types, by its names for the inputs.

    Raises:
        DataError: values that its types cannot hold.
    """
    listed = named_or_listed(samples, [tensor.name for tensor in inputs])
    return {
        tensor.name: quantized(
            tensor.name,
            np.asarray(array),
            {"quantization": (tensor.scale, tensor.zero_point), "dtype": tensor.dtype},
        )
        for tensor, array in zip(inputs, listed, strict=True)
    }


def _bodies(inputs: Sequence[Tensor], samples: Batch) -> list[dict]:
    flat = _flat({tensor.name: samples[tensor.name] for tensor in inputs})
    return [
        {
            "inputs": [
                {
                    "name": tensor.name,
                    "datatype": DATATYPES[tensor.dtype],
                    "shape": [1, *tensor.shape],
                    "data": row[tensor.name],
                }
                for tensor in inputs
            ]
        }
        for row in flat
    ]


def _flat(arrays: Batch) -> list[dict[str, list]]:
    return [
        {name: array[k].ravel().tolist() for name, array in arrays.items()}
        for k in range(count_samples(arrays))
    ]


def _lines(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _order(count: int, zipf: float | None) -> list[int]:
    if zipf is None:
        return list(range(count))
    weights = np.arange(1, count + 1.0) ** -zipf
    return np.random.default_rng(0).choice(count, DRAWS, p=weights / weights.sum()).tolist()


def _run(spec: Path, rows: Path) -> dict[str, np.ndarray]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "leankeras.serving.load_job", str(spec), str(rows)],
        capture_output=True,
        text=True,
        env=package_environment(),
        timeout=json.loads(spec.read_text())["seconds"] + START_SECONDS,
    )
    if not rows.exists():
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise MeasurementError(f"the load test failed: {last[0]:.300}")
    with np.load(rows) as loaded:
        return dict(loaded)
