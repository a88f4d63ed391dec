"""A folder of .npy files three times as large as the memory that may be used.

Run ``uv run python benchmarks/larger_than_memory.py [DIR]`` as root, since it makes a memory cgroup
of version 1; elsewhere nothing holds the process back. It writes a set of 4.5 GB to a temporary
directory (in DIR), drops it from the cache, and opens, trains, quantizes, converts and scores with
it in a process that may use 1.5 GB, cached files and children included. For each step it prints
how much memory the process has of its own at its end. Takes about eight minutes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

GROUP = Path("/sys/fs/cgroup/memory/leankeras-benchmark")
SHAPE = (128, 128, 3)
LIMIT = 1.5e9


def write(folder: Path) -> None:
    """Pictures of two kinds, noise that is brighter on the left or on the right."""
    random = np.random.default_rng(0)
    count = int(3 * LIMIT / (4 * np.prod(SHAPE)))
    for part, size in (("train", count * 9 // 10), ("test", count // 10)):
        y = random.integers(0, 2, size)
        np.save(folder / f"y_{part}.npy", y)
        x = np.lib.format.open_memmap(
            folder / f"x_{part}.npy", "w+", dtype=np.float32, shape=(size, *SHAPE)
        )
        noise = random.normal(size=(64, *SHAPE)).astype(np.float32)
        for start in range(0, size, len(noise)):
            some = y[start : start + len(noise)]
            x[start : start + len(some)] = noise[: len(some)]
            for row, kind in enumerate(some, start):
                x[row, :, 64 * kind : 64 * kind + 64] += 0.5
        x.flush()
    for file in folder.iterdir():  # none of it is in memory when it is first read
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def allowed(limit: float) -> float:
    """A cgroup for processes that may use so many bytes; all memory where there can be none."""
    try:
        GROUP.mkdir(exist_ok=True)
        (GROUP / "memory.limit_in_bytes").write_text(str(int(limit)))
    except OSError:
        return psutil.virtual_memory().total
    return limit


def own_memory() -> float:
    """Bytes of this process that no file is behind."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def main(folder: Path) -> None:
    import keras

    import leankeras
    from leankeras.training import fit

    keras.utils.set_random_seed(0)
    layers = keras.layers
    stack = [layers.Conv2D(8, 5, strides=4, activation="relu"), layers.MaxPooling2D(4)]
    model = keras.Sequential([keras.Input(SHAPE), *stack, layers.Flatten(), layers.Dense(2)])
    data = None

    def load() -> str:
        nonlocal data
        data = leankeras.Data.load(folder)
        return f"{len(data.x_train)} + {len(data.x_val)} + {len(data.x_test)} samples"

    def score(target) -> str:
        return f"accuracy {leankeras.evaluate(target, data.x_test, data.y_test)['accuracy']:.3f}"

    def train() -> str:
        return f"loss {fit(model, data, 1, batch_size=32).history['loss'][0]:.3f}"

    def quantize() -> str:
        return (
            f"{leankeras.train_quantized(model, data, 1, verbose=0).model.count_params()} weights"
        )

    def convert() -> str:
        made = leankeras.convert(model, folder / "m.tflite", "int8", data.calibration(200))
        return f"{made.size_bytes / 1000:.1f} kB"

    steps = {
        "open and check": load,
        "train an epoch": train,
        "score the model": lambda: score(model),
        "quantization-aware": quantize,
        "convert to int8": convert,
        "score the file": lambda: score(folder / "m.tflite"),
    }
    print(f"{'step':<20} {'result':<34} {'seconds':>8} {'own memory, GB':>15}")
    for name, step in steps.items():
        started = time.monotonic()
        said = step()
        print(
            f"{name:<20} {said:<34} {time.monotonic() - started:>8.0f} {own_memory() / 1e9:>15.2f}"
        )


if __name__ == "__main__":
    if "--held" in sys.argv:  # this process and the children it starts
        if GROUP.exists():
            (GROUP / "cgroup.procs").write_text(str(os.getpid()))
        main(Path(sys.argv[-1]))
        sys.exit()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        write(Path(place))
        total = sum(file.stat().st_size for file in Path(place).iterdir())
        memory = allowed(LIMIT)
        print(f"{total / 1e9:.1f} GB in processes that may use {memory / 1e9:.1f} GB", flush=True)
        subprocess.run([sys.executable, __file__, "--held", place], check=True)
        if GROUP.exists():
            peak = int((GROUP / "memory.max_usage_in_bytes").read_text()) / 1e9
            print(f"most that was used, files in the cache included: {peak:.2f} GB")
            GROUP.rmdir()
