"""What a server costs and takes: a markdown table of every claim in docs/serving.md.

    uv run python benchmarks/serving.py FINAL.tflite [--short] [--triton PYTHON]

FINAL is the last file of a run. The other file is made here: a wide network of 80 MB. Server and
load generator share this machine; with anything else running beside them the figures mean nothing.
``--triton`` takes the Python of an environment of its own with nvidia-pytriton and ai-edge-litert
(nvidia-pytriton 0.7 wants an older NumPy, and does not start with pyenv's Python 3.11.7; Debian's
3.11.2 will do) and serves the wide network from there as well, as a
reference. Takes about eight minutes, two with ``--short``.
"""

import argparse
import asyncio
import json
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import psutil

import kopt
from leankeras.serving import Server, Serving, ask_all, hash_seconds, load_test, open_engine
from leankeras.serving.load import _bodies, file_batch
from leankeras.serving.process import Addresses, free_ports, is_ready
from tests.leankeras.serving.client import call, post

SHAPES = {"off": Serving(batch_size=1)} | {
    f"up to {size}, {ms} ms": Serving(batch_size=size, batch_ms=ms)
    for size, ms in ((32, 0), (8, 3), (16, 5))
}


def say(what: str, value: str) -> None:
    print(f"| {what} | {value} |", flush=True)


def wide_file(folder: Path) -> Path:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(3200, activation="relu") for _ in range(3)]
    network = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10)])
    return kopt.convert(network, folder / "wide.tflite", "float32").path


def samples_for(file: Path, count: int = 200) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    inputs = open_engine(file).inputs
    return {t.name: generator.standard_normal((count, *t.shape)).astype("f4") for t in inputs}


def share_of_the_server(file: Path, seconds: float) -> None:
    samples = samples_for(file)
    with Server(file, Serving(batch_size=1)) as server:
        ceiling = load_test(server, users=16, seconds=seconds)
        http = load_test(server, samples, users=1, seconds=seconds)
        start = time.perf_counter()
        asyncio.run(ask_all(server, samples, 1))
        by_grpc = (time.perf_counter() - start) / 200
        file_us = 1e6 * server.engine.seconds[1]
        full = load_test(server, samples, users=16, seconds=seconds)
    say("load generator's ceiling, a page without work", f"{ceiling.answered:,.0f} /s")
    say("final file alone", f"{file_us:.1f} µs")
    say("a request for it by HTTP, one caller", f"{1000 * http.p50_ms:.0f} µs")
    say("a request for it by gRPC, one caller", f"{1e6 * by_grpc:.0f} µs")
    say("requests for it by HTTP, 16 callers", f"{full.answered:,.0f} /s")
    engine, given = open_engine(file), samples
    say("hash of a request for it", f"{1e6 * hash_seconds(engine, given):.1f} µs")


def batching(file: Path, seconds: float) -> float:
    """How many answers a second the best way to batch gives."""
    samples, rows = samples_for(file), {}
    for name, serving in SHAPES.items():
        with Server(file, serving) as server:
            for users in (1, 4, 8, 16, 32):
                rows[name, users] = load_test(server, samples, users=users, seconds=seconds)
    table = pd.DataFrame(rows).T
    unloaded, off = table.loc[("off", 1)], table.loc["off"].answered.max()
    say("wide network, one caller, no batches", f"p99 {unloaded.p99_ms:.1f} ms")
    for (name, users), row in table.iterrows():
        gain = f"{row.answered / off:.1f}×" if name != "off" else ""
        say(
            f"wide network, batches {name}, {users} callers",
            f"{row.answered:.0f} /s {gain} p50 {row.p50_ms:.1f}, p99 {row.p99_ms:.1f} ms, "
            f"{row.wrong:.0f} wrong",
        )
    within = table[table.p99_ms <= 2 * unloaded.p99_ms]
    best = within.answered.idxmax()
    say(
        "most answers at no more than twice the p99 of one caller",
        f"{within.answered.max() / off:.1f}× ({best[0]}, {best[1]} callers)",
    )
    return table.answered.max()


def overload(name: str, file: Path, capacity: float, seconds: float) -> None:
    samples = samples_for(file)
    with Server(file, Serving(batch_size=32)) as server:
        process = psutil.Process(server.process.pid)
        load_test(server, samples, rate=capacity / 2, seconds=3)
        before = process.memory_info().rss
        row = load_test(server, samples, rate=2 * capacity, seconds=seconds)
        time.sleep(5)
        after = load_test(server, samples, rate=capacity / 4, seconds=3)
        grown = (process.memory_info().rss - before) / 1e6
    say(
        f"{name}, {seconds:.0f} s at twice its load ({2 * capacity:.0f} /s)",
        f"{row.offered:.0f} offered, {row.answered:.0f} answered /s, {row.refused:.0%} refused, "
        f"{row.failed:.0f} failed, {row.wrong:.0f} wrong, p99 {row.p99_ms:.0f} ms "
        f"(the generator itself {row.late_ms:.0f} ms late), memory {grown:+.1f} MB",
    )
    say(
        f"{name}, 5 s later at a quarter of its load",
        f"p50 {after.p50_ms:.1f}, p99 {after.p99_ms:.1f} ms, {after.refused:.0%} refused",
    )


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A request with bytes changed, cut off, doubled or put in."""
    at = chance.randrange(len(content))
    noise = chance.randbytes(chance.randint(1, 20))
    return chance.choice(
        (content[:at], content[:at] + noise + content[at + 1 :], content[at:], content + noise)
    )


def malformed(file: Path, count: int) -> None:
    from tritonclient.grpc import service_pb2 as pb

    with Server(file) as server:
        inputs = server.engine.inputs
        batch = file_batch(inputs, samples_for(file, 20))
        bodies = [json.dumps(body).encode() for body in _bodies(inputs, batch)]
        message = pb.ModelInferRequest(model_name="model")
        for tensor in inputs:
            shape = [1, *tensor.shape]
            message.inputs.add(name=tensor.name, datatype="FP32", shape=shape)
            message.raw_input_contents.append(batch[tensor.name][:1].tobytes())
        content, chance = message.SerializeToString(), random.Random(0)
        beside = []
        watch = threading.Thread(
            target=lambda: beside.append(load_test(server, batch, users=2, seconds=count / 100))
        )
        watch.start()
        http = Counter(
            post(server.at.url, damaged(chance.choice(bodies), chance))[0]
            for _ in range(count // 2)
        )
        http[post(server.at.url, b" " * 100_000_000)[0]] += 1
        codes = Counter(
            call(server.at.grpc, damaged(content, chance))[0].name for _ in range(count // 2)
        )
        watch.join()
        lives = server.process.poll() is None
    say(f"{count // 2} damaged HTTP requests and one of 100 MB", str(dict(sorted(http.items()))))
    say(f"{count // 2} damaged gRPC messages", str(dict(sorted(codes.items()))))
    say("right requests beside them", f"{beside[0].wrong:.0f} wrong, {beside[0].failed:.0f} failed")
    say("the server lives", str(lives))


def killed_worker(file: Path) -> None:
    with Server(file, Serving(batch_size=1, workers=2)) as server:
        workers = psutil.Process(server.process.pid).children
        before = {child.pid for child in workers()}
        rows = []
        load = threading.Thread(
            target=lambda: rows.append(load_test(server, samples_for(file), users=8, seconds=8))
        )
        load.start()
        time.sleep(5)
        psutil.Process(min(before)).kill()
        start = time.monotonic()
        while len({child.pid for child in workers()} - {min(before)}) < 2:
            time.sleep(0.01)
        seconds = time.monotonic() - start
        load.join()
    (row,) = rows
    lost = row.refused * row.answered * 8 / (1 - row.refused)
    say(
        "a worker of two killed under load",
        f"{lost:.0f} of {row.answered * 8:.0f} requests lost, {row.wrong:.0f} wrong; "
        f"another one begun after {seconds:.2f} s",
    )


def sigterm(file: Path) -> None:
    batch = samples_for(file, 32)
    with Server(file, Serving(batch_size=1)) as server, ThreadPoolExecutor(32) as pool:
        bodies = [json.dumps(each).encode() for each in _bodies(server.engine.inputs, batch)]
        asked = [pool.submit(post, server.at.url, each) for each in bodies]
        while sum(each.done() for each in asked) < 2:
            time.sleep(0.001)
        start = time.monotonic()
        code = server.stop()
        seconds = time.monotonic() - start
        statuses = Counter(each.result()[0] for each in asked)
    say(
        "SIGTERM with 30 requests in flight", f"{dict(statuses)}, exit {code} after {seconds:.1f} s"
    )


def triton(python: str, file: Path, seconds: float) -> None:
    http, grpc_port, metrics = free_ports()
    script = Path(__file__).with_name("triton_reference.py")
    ports = list(map(str, (http, grpc_port, metrics)))
    at = Addresses.of(Serving(port=http, grpc_port=grpc_port, metrics_port=metrics), "model")
    with subprocess.Popen(
        [python, script, file, *ports],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not is_ready(at):
            time.sleep(0.2)
            if process.poll() is not None:
                return say("Triton", f"ended with exit code {process.returncode}")
        server = SimpleNamespace(at=at, engine=open_engine(file))
        for users in (1, 8, 32):
            row = load_test(server, samples_for(file), users=users, seconds=seconds, check=False)
            say(
                f"Triton, wide network, dynamic batches up to 32, {users} callers",
                f"{row.answered:.0f} /s, p50 {row.p50_ms:.1f}, p99 {row.p99_ms:.1f} ms",
            )
        process.stdin.close()
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("final", type=Path)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--triton", metavar="PYTHON")
    given = parser.parse_args()
    seconds = 2.0 if given.short else 5.0
    with tempfile.TemporaryDirectory() as folder:
        wide = wide_file(Path(folder))
        print("| what | measured |\n| --- | --- |")
        share_of_the_server(given.final, seconds)
        capacity = batching(wide, seconds)
        with Server(given.final) as server:
            final = load_test(server, samples_for(given.final), users=16, seconds=seconds).answered
        overload("wide network", wide, capacity, 10 if given.short else 120)
        overload("final file", given.final, final, 10 if given.short else 120)
        malformed(given.final, 1000)
        killed_worker(wide)
        sigterm(wide)
        if given.triton:
            triton(given.triton, wide, seconds)


if __name__ == "__main__":
    main()
