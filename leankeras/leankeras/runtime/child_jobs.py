"""Measurements for a child process that has TensorFlow settings of its own.

Only :mod:`leankeras.runtime.fresh_process` requests them.
"""

import sys
from importlib import import_module
from pathlib import Path

from leankeras.arrays import ONLY, read_arrays
from leankeras.child import tell
from leankeras.runtime.artifacts import random_sample
from leankeras.runtime.latency import compare_latency
from leankeras.runtime.layers import profile_layers
from leankeras.runtime.model_files.opening import load_keras
from leankeras.runtime.ways_to_call import ladder
from leankeras.scripts import run_script


def profile(folder: str, modules: list[str], search_path: list[str]) -> None:
    """Time the layers of a model and the ways to call it.

    Args:
        folder: holds ``model.keras`` and ``sample.npz``; ``shares.json`` and ``ladder.json`` are
            written there.
        modules: names of the modules, or paths of the scripts, that define its custom layers.
        search_path: the directories to search for those modules.
    """
    sys.path.extend(entry for entry in search_path if entry not in sys.path)
    for module in modules:
        if module.endswith(".py"):
            run_script(module)
        else:
            import_module(module)
    place = Path(folder)
    model, arrays = load_keras(place / "model.keras"), read_arrays(place / "sample.npz")
    sample = arrays.get(ONLY, arrays)
    tell("timing the layers")
    profile_layers(model, sample).to_json(place / "shares.json", orient="split")
    tell("timing the ways to call")
    rungs = compare_latency(ladder(model, sample), sample, reference="tf.function")
    rungs.table.to_json(place / "ladder.json", orient="split")


def compare(litert: str, saved_model: str) -> dict[str, float]:
    """The row of a SavedModel in a comparison with a ``.tflite``, on an invented sample."""
    targets = {"litert": litert, "saved model": saved_model}
    table = compare_latency(targets, random_sample(litert)).table
    return table.drop(columns="verdict").loc["saved model"].to_dict()
