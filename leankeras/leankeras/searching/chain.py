"""The chain of one trial: remove channels, train, learn from the teacher, quantize, convert.

These are the calls of the notebooks 03 to 06, with the settings of a :class:`Candidate`.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from leankeras.arrays import first
from leankeras.channels import plan_removal
from leankeras.conversion import Conversion, convert, convert_to_score
from leankeras.copying import copy_model
from leankeras.data import Data
from leankeras.distillation import distill
from leankeras.quantization import train_quantized
from leankeras.runtime import compare_files, compare_latency, compare_scores
from leankeras.searching.candidate import Candidate
from leankeras.searching.cost import costs_of
from leankeras.training import fit

CALIBRATION_SAMPLES = 200
SHORT = 4  # a short training takes this part of the epochs


@dataclass(frozen=True)
class Materials:
    """What every trial of a search starts from.

    Attributes:
        model: the trained model to make smaller.
        teacher: what it may learn from.
        data: the data, with its task.
        slow: the file that scores are compared with.
        seed: the seed of every random choice.
    """

    model: keras.Model
    teacher: keras.Model
    data: Data
    slow: Path
    seed: int


def shrink(model: keras.Model, data: Data, candidate: Candidate, seed: int) -> keras.Model:
    """Remove the channels that a candidate gives up, in its steps, and train after each.

    However many steps there are, the result has the architecture of a single removal.

    Args:
        model: a trained model; it is left as it is.
        data: what to train on.
        candidate: its shares, steps and epochs are used.
        seed: the seed of the training.

    Returns:
        The smaller model, or the same one if there is nothing to remove.
    """
    if not candidate.shares:
        return model
    keras.utils.set_random_seed(seed)
    whole = plan_removal(model, candidate.shares, round_to=candidate.round_to)
    goal = {
        group.layers[0]: len(whole.removed.intersection(group.channels))
        for group in whole.graph.groups
    }
    gone = dict.fromkeys(goal, 0)
    small = model
    for step in range(1, candidate.steps + 1):
        until = {layer: count * step // candidate.steps for layer, count in goal.items()}
        groups = plan_removal(small, {}).graph.groups
        shares = {
            layer: (until[layer] - gone[layer]) / len(group.removable)
            for group in groups
            if until[layer := group.layers[0]] > gone[layer]
        }
        small, gone = plan_removal(small, shares).apply(), until
        fit(small, data, _part(candidate.prune_epochs, step, candidate.steps))
    return small


def _part(epochs: int, step: int, steps: int) -> int:
    """The epochs of one step, at least one; together as many as asked if there are enough."""
    return max(1, epochs * step // steps - epochs * (step - 1) // steps)


def teach(
    teacher: keras.Model, model: keras.Model, data: Data, candidate: Candidate, seed: int
) -> keras.Model:
    """Train a copy of a model further: with the teacher, or on the labels alone.

    Args:
        teacher: the teacher.
        model: the student; it is left as it is.
        data: what to train on.
        candidate: its epochs, temperature and alpha are used.
        seed: the seed of the training.

    Returns:
        The student, or the same model if the candidate has no epochs for it.
    """
    if not candidate.distil_epochs:
        return model
    keras.utils.set_random_seed(seed)
    if candidate.temperature is None:
        student = copy_model(model, first(data.x_train))
        fit(student, data, candidate.distil_epochs)
        return student
    return distill(
        teacher,
        model,
        data,
        temperature=candidate.temperature,
        alpha=candidate.alpha,
        epochs=candidate.distil_epochs,
        verbose=0,
    )


def compress(materials: Materials, candidate: Candidate, path: Path) -> Conversion:
    """The whole chain of a candidate.

    Args:
        materials: what to start from.
        candidate: the settings.
        path: where the ``.tflite`` goes.

    Raises:
        KoptError: a step refuses the model, such as a conversion whose file is wrong.
    """
    data, seed = materials.data, materials.seed
    small = shrink(materials.model, data, candidate, seed)
    taught = teach(materials.teacher, small, data, candidate, seed)
    final: Any = taught
    if candidate.qat_epochs:
        keras.utils.set_random_seed(seed)
        final = train_quantized(taught, data, epochs=candidate.qat_epochs, verbose=0)
    calibration = data.calibration(CALIBRATION_SAMPLES)
    return convert(final, path, candidate.mode, calibration, keep_float=candidate.keep_float)


def untrained(materials: Materials, candidate: Candidate, path: Path) -> dict[str, Any]:
    """The file of a candidate's architecture, without any training.

    Returns:
        ``size_kb`` and ``costs``, which depend on the architecture alone; see
        :func:`leankeras.searching.cost.costs_of`.
    """
    model = materials.model
    if candidate.shares:
        plan = plan_removal(model, candidate.shares, round_to=candidate.round_to)
        model = plan.apply()
    calibration = materials.data.calibration(CALIBRATION_SAMPLES)
    convert_to_score(model, path, candidate.mode, calibration, candidate.keep_float)
    return {"size_kb": path.stat().st_size / 1000, "costs": costs_of(path)}


def timed(materials: Materials, files: dict[str, Path]) -> pd.DataFrame:
    """Latency of several files, side by side, against the first; of the slow model's input."""
    return compare_latency(files, first(materials.data.samples("test"))).table


def short_training(materials: Materials, candidate: Candidate, path: Path) -> dict[str, float]:
    """What is lost after a short training: a quarter of the epochs, no teacher, in float.

    Returns:
        ``short_lost`` against the slow model on the validation part, a fraction.
    """
    few = max(1, candidate.prune_epochs // SHORT)
    brief = Candidate(candidate.shares, candidate.round_to, prune_epochs=few, mode="float32")
    small = shrink(materials.model, materials.data, brief, materials.seed)
    lost = _compared({"slow": materials.slow, "this": small}, materials)
    return {"short_lost": lost["lost"]}


def full_training(materials: Materials, candidate: Candidate, path: Path) -> dict[str, float]:
    """The whole chain of a candidate, and what it loses on the validation part.

    Returns:
        ``score``, ``lost`` with its interval ``lost_low`` and ``lost_high``, ``size_kb``, and
        ``scoring_seconds``, which two files took.
    """
    made = compress(materials, candidate, path)
    started = time.monotonic()
    scores = _compared({"slow": materials.slow, "this": made.path}, materials)
    return scores | {
        "size_kb": made.size_bytes / 1000,
        "scoring_seconds": time.monotonic() - started,
    }


def finalists(materials: Materials, files: dict[int, Path]) -> pd.DataFrame:
    """Score, size and latency of files against the slow one, on the validation part."""
    table, _ = compare_files({"slow": materials.slow, **files}, materials.data)
    return table.loc[list(files)]


def judged(materials: Materials, files: dict[int, Path], default: Path) -> tuple[pd.DataFrame, str]:
    """Score, size and latency of files on the test part, which nothing was chosen on.

    Returns:
        What :func:`leankeras.runtime.compare_files` gives against the slow file; and
        ``against_default`` (the ratio of latencies) and ``lost_to_default`` with their intervals,
        against the file of the default chain. And the conditions of the latencies.
    """
    data, names = materials.data, list(files)
    table, conditions = compare_files({"slow": materials.slow, **files}, data, "test")
    both = {"default": default, **files}
    latency = compare_latency(both, first(data.samples("test"))).table.loc[names]
    scores = compare_scores(both, data, "test").loc[names]
    lost = data.task.score.columns[1]
    for end in ("", "_low", "_high"):
        table[f"against_default{end}"] = latency[f"ratio{end}"]
        table[f"lost_to_default{end}"] = scores[f"lost{end}" if end else lost]
    return table.loc[names], conditions


def _compared(targets: dict[str, Any], materials: Materials) -> dict[str, float]:
    row = compare_scores(targets, materials.data).loc["this"].to_dict()
    names = list(row)  # the score, what is lost of it, and the interval
    return {
        "score": row[names[0]],
        "lost": row[names[1]],
        "lost_low": row["lost_low"],
        "lost_high": row["lost_high"],
    }
