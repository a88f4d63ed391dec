"""Run a .tflite on its test vectors, on any machine that has NumPy and LiteRT.

This file is sent to devices as it is, so it imports nothing of leankeras:

    python trial.py FOLDER [SECONDS]

FOLDER holds ``model.tflite`` and ``model.npz``, with arrays ``input_K`` and ``output_K`` for the
tensors of index K. The outputs are written to ``outputs.npz``. With SECONDS, ``slow.tflite`` and
``slow.npz`` are there as well, and both are timed in turns. What was seen is printed as JSON.
"""

import json
import random
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

BLOCKS = 12
CALLS = 3  # timed one by one in a turn, after one that warms the caches


def load(folder: Path, name: str) -> tuple[Interpreter, dict[str, np.ndarray]]:
    """A file ready to run on one thread, and its vectors."""
    interpreter = Interpreter(model_path=str(folder / f"{name}.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    with np.load(folder / f"{name}.npz", allow_pickle=False) as archive:
        return interpreter, {key: archive[key] for key in archive.files}


def set_inputs(interpreter: Interpreter, vectors: dict[str, np.ndarray], sample: int) -> None:
    """Copy one sample in."""
    for key, array in vectors.items():
        if key.startswith("input_"):
            shape = interpreter._get_tensor_details(int(key[6:]), 0)["shape"]
            interpreter.set_tensor(int(key[6:]), array[sample].reshape(shape))


def answer(interpreter: Interpreter, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs on every sample, under the names of the expected ones."""
    keys = [key for key in vectors if key.startswith("output_")]
    runs = {key: [] for key in keys}
    for sample in range(len(vectors[keys[0]])):
        interpreter.reset_all_variables()
        set_inputs(interpreter, vectors, sample)
        interpreter.invoke()
        for key in keys:
            runs[key].append(interpreter.get_tensor(int(key[7:])))
    return {key: np.stack(outputs) for key, outputs in runs.items()}


def difference(expected: np.ndarray, seen: np.ndarray) -> dict:
    """How far one output is from what was expected, over all samples."""
    apart = np.abs(seen.astype(np.float64) - expected.astype(np.float64))
    apart[~np.isfinite(seen) & np.isfinite(expected)] = np.inf
    return {
        "largest": float(apart.max(initial=0)),
        "size": float(np.abs(expected.astype(np.float64)).max(initial=0)),
        "differing": int((apart > 0).sum()),
        "values": int(apart.size),
        "sample": int(apart.reshape(len(apart), -1).max(axis=1).argmax()),
    }


def race(calls: dict, seconds: float) -> dict:
    """Seconds of the fastest call of each function in every block; they take turns."""
    best = {name: [] for name in calls}
    order = list(calls)
    for _ in range(BLOCKS):
        block = {name: float("inf") for name in calls}
        end = time.perf_counter() + seconds / BLOCKS
        while min(block.values()) == float("inf") or time.perf_counter() < end:
            random.shuffle(order)
            for name in order:
                calls[name]()
                for _ in range(CALLS):
                    start = time.perf_counter()
                    calls[name]()
                    block[name] = min(block[name], time.perf_counter() - start)
        for name in calls:
            best[name].append(block[name])
    return best


def main(folder: Path, seconds: float) -> None:
    """Run everything and print the result."""
    interpreter, vectors = load(folder, "model")
    outputs = answer(interpreter, vectors)
    np.savez(folder / "outputs.npz", **outputs)
    seen = {
        "differences": {key[7:]: difference(vectors[key], outputs[key]) for key in outputs},
        "seconds": {},
    }
    if seconds:
        slow, slow_vectors = load(folder, "slow")
        set_inputs(slow, slow_vectors, 0)
        set_inputs(interpreter, vectors, 0)
        seen["seconds"] = race({"model": interpreter.invoke, "slow": slow.invoke}, seconds)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
