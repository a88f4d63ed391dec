"""The Dask cluster a sweep runs on: a local one of its own, or an existing one."""

import asyncio
import hashlib
import logging
import platform
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import psutil
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Security
from distributed.comm import connect
from distributed.versions import VersionMismatchWarning

import leankeras
from kopt.errors import ClusterError, WorkspaceError
from kopt.project import NOTEBOOKS, ROOT

ANSWER_SECONDS = 5
WORKERS_SECONDS = 10
WORKER_BYTES = 2e9  # a kernel with TensorFlow, its converter process and the worker itself
PACKAGES = ("tensorflow", "keras", "papermill")
SOURCES = (
    (ROOT / "kopt", "*.py"),
    (Path(leankeras.__file__).parent, "*.py"),
    (NOTEBOOKS, "*.ipynb"),
)
START = "start some with: dask worker {address} --nthreads 1"


@contextmanager
def open_cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A client of a cluster whose workers can run the notebooks of this kopt.

    Args:
        scheduler: address of a running scheduler; None starts a cluster of processes on this
            machine, reachable from this machine only, and shuts it down afterwards.
        workers: the number of those processes; None for one per core, if there is enough memory.

    Raises:
        ClusterError: the scheduler does not answer or has no workers, or their versions differ.

    Example:
        >>> with open_cluster(workers=2) as client:
        ...     client.submit(sum, [1, 2]).result()
        3
    """
    if scheduler is None:
        with _local_cluster(workers or _fitting_workers()) as client:
            yield client
        return
    with _connect(scheduler) as client:
        _check_workers(client, scheduler)
        yield client


def thread_settings(workers: int) -> dict[str, str]:
    """Environment variables that give TensorFlow in each worker its share of the cores."""
    threads = str(max(1, CPU_COUNT // workers))
    return {
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": threads,
    }


def installed() -> dict[str, str]:
    """What this process would run the notebooks with: Python, packages and kopt's own files."""
    sources = hashlib.sha256()
    for folder, pattern in SOURCES:
        for path in sorted(folder.rglob(pattern)):
            if ".ipynb_checkpoints" not in path.parts:
                sources.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found | {"kopt": f"{version('kopt-workbook')} (files {sources.hexdigest()[:8]})"}


def check_storage(client: Client, folder: Path) -> None:
    """Refuse a directory that cannot be written here or that a worker does not see.

    Args:
        client: the client of the cluster.
        folder: need not exist yet; its nearest existing parent is tested.

    Raises:
        WorkspaceError: the directory cannot be written.
        ClusterError: a worker is on a machine that does not share it.
    """
    nearest = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
    try:
        with NamedTemporaryFile(dir=nearest, prefix=".kopt-") as probe:
            seen = client.run(Path(probe.name).exists)
    except OSError as error:
        raise WorkspaceError(
            f"{folder} cannot be written ({error.strerror}); choose another --run-dir"
        ) from error
    blind = [worker for worker, sees in seen.items() if not sees]
    if blind:
        raise ClusterError(
            f"worker {blind[0]} does not see {nearest}; choose a --run-dir on storage that this "
            "machine and all workers share"
        )


def _fitting_workers() -> int:
    fitting = int(psutil.virtual_memory().available // WORKER_BYTES)
    return max(1, min(CPU_COUNT, fitting))


@contextmanager
def _local_cluster(workers: int) -> Iterator[Client]:
    # The workers inherit this and ignore Ctrl-C: they are shut down below, in order.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port
            memory_limit=0,  # the kernels use the memory, and Dask does not see them
            silence_logs=logging.CRITICAL,
            env={"TQDM_DISABLE": "1", **thread_settings(workers)},
        )
    finally:
        signal.signal(signal.SIGINT, interrupt)
    with cluster, Client(cluster) as client:
        try:
            yield client
        except BaseException:
            client.cancel(list(client.futures), force=True)
            _end_kernels(cluster)
            raise


def _end_kernels(cluster: LocalCluster) -> None:
    """End the processes the workers have started, so that the workers need not wait for them."""
    workers = {nanny.pid for nanny in cluster.workers.values()}
    for worker in psutil.Process().children():
        if worker.pid in workers:
            for started in _descendants(worker):
                with suppress(psutil.NoSuchProcess):  # a converter ends with its kernel
                    started.kill()


def _descendants(worker: psutil.Process) -> list[psutil.Process]:
    try:
        return worker.children(recursive=True)
    except psutil.NoSuchProcess:
        return []  # a worker that has died leaves none


def _connect(scheduler: str) -> Client:
    try:
        asyncio.run(asyncio.wait_for(_shake_hands(scheduler), ANSWER_SECONDS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # reported below
            return Client(scheduler, timeout=ANSWER_SECONDS, set_as_default=False)
    # MemoryError: another kind of server; the rest: addresses that need more than a name
    except (OSError, ValueError, MemoryError, TypeError, RuntimeError, ImportError) as error:
        raise ClusterError(
            f"{scheduler} does not answer as a scheduler within {ANSWER_SECONDS} s "
            f"({type(error).__name__}); expected the address of a running `dask scheduler`"
        ) from error


async def _shake_hands(scheduler: str) -> None:
    """Connect once: Dask's own client would wait forever for a port that stays silent."""
    arguments = Security().get_connection_args("client")
    comm = await connect(scheduler, timeout=ANSWER_SECONDS, **arguments)
    await comm.close()


def _check_workers(client: Client, scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        raise ClusterError(
            f"scheduler {scheduler} has no workers after {WORKERS_SECONDS} s; "
            + START.format(address=scheduler)
        ) from error
    ours = installed()
    threads = client.nthreads()
    for address, theirs in client.run(installed, on_error="return").items():
        other = _difference(ours, theirs)
        if other:
            raise ClusterError(
                f"worker {address} has {other}; expected the same everywhere, so start it from the "
                "same environment"
            )
        if threads[address] != 1:
            raise ClusterError(
                f"worker {address} runs {threads[address]} tasks at once; expected 1, so start it "
                "with --nthreads 1"
            )


def _difference(ours: dict[str, str], theirs: Any) -> str:
    if isinstance(theirs, Exception):
        return f"no usable kopt ({type(theirs).__name__}: {theirs})"
    return ", ".join(
        f"{package} {theirs.get(package)} where this process has {found}"
        for package, found in ours.items()
        if theirs.get(package) != found
    )
