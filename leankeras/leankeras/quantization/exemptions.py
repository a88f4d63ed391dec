"""The few layers whose exemption from int8 buys back what its score has lost, found by trying."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from leankeras.conversion import Arrays, Conversion, convert_to_score
from leankeras.data import Data
from leankeras.runtime import compare_scores, score_of
from leankeras.task import AnyScore

MOST_LAYERS = 5


@dataclass(frozen=True)
class Exemptions:
    """The result of :func:`find_exemptions`.

    Attributes:
        layers: to be named in ``keep_float``; none where int8 loses nothing significant, or where
            keeping layers in float does not help.
        path: the int8 file with these layers in float; the plain one where there are none.
        scores: what :func:`leankeras.runtime.compare_scores` gives for "float32", "int8" and,
            where there are layers, "exempt", against float32.
        score: what they are judged by.
        tried: how many layers were tried; 0 where int8 loses nothing significant.
    """

    layers: tuple[str, ...]
    path: Path
    scores: pd.DataFrame = field(repr=False)
    score: AnyScore = field(repr=False)
    tried: int

    def __str__(self) -> str:
        int8 = f"int8 loses {self._lost('int8')} {self.score.unit} against float32"
        if not self.tried:
            return f"{int8}: nothing significant that a layer in float could recover"
        if not self.layers:
            return (
                f"{int8}, and none of the {self.tried} layers with the largest error recovers any "
                "of it in float; try other calibration samples, or leankeras.train_quantized"
            )
        return f"{int8}; with {', '.join(self.layers)} in float it loses {self._lost('exempt')}"

    def _lost(self, name: str) -> str:
        lost, low, high = (100 * self.scores.loc[name, list(self.score.columns[1:])]).tolist()
        return f"{lost:.1f} [{low:.1f}, {high:.1f}]"


def find_exemptions(
    model: Any,
    float32: Conversion,
    int8: Conversion,
    errors: pd.DataFrame,
    calibration: Arrays,
    data: Data,
) -> Exemptions:
    """Find the layers that int8 has to leave in float to be as accurate as float32.

    All attention layers are tried first: their errors are small at each operator and cost accuracy
    only together. Then layers are added in order of decreasing own error, up to 5, until the loss
    against float32 is no longer significant (its 95 % interval reaches 0). One layer is often not
    enough, since a layer in float still reads values that an int8 layer has rounded; so a layer
    that does not help alone stays until the end. Then each layer that can be left out without a
    significant loss is removed again. If 5 layers do not reach float32, the accuracy they reach
    together is the goal, and if they gain nothing, none is kept.

    The samples used for the choice are no longer a fair test of the result; if it matters, measure
    it on others.

    Args:
        model: the converted model, as accepted by :func:`leankeras.convert`.
        float32: its conversion in mode ``"float32"``.
        int8: its conversion in mode ``"int8"``; the files tried are written beside it.
        errors: the :func:`leankeras.quantization.layer_error.quantization_error` of the two.
        calibration: the samples ``int8`` was calibrated with, shape ``(n, ...)``.
        data: its validation part is scored.

    Raises:
        ConversionError: the model cannot be converted with one of the layers in float.

    Example:
        >>> errors = quantization_error(float32, int8, data.x_test)
        >>> find_exemptions(model, float32, int8, errors, data.x_train[:200], data).layers
        ('attention',)
    """
    candidates = tuple(layer for layer in errors.index if layer)[:MOST_LAYERS]
    files = {(): int8.path}

    def file(layers: tuple[str, ...]) -> Path:
        if layers not in files:
            path = int8.path.with_name(f"{int8.path.stem}-exempt-{len(files)}.tflite")
            files[layers] = convert_to_score(model, path, "int8", calibration, layers)
        return files[layers]

    def is_worse(layers: tuple[str, ...], goal: Path) -> bool:
        pair = {"goal": goal, "exempt": file(layers)}
        return compare_scores(pair, data).lost_low["exempt"] > 0

    attention = _attention(errors)
    sets = [candidates[: count + 1] for count in range(len(candidates))]
    sets = [attention, *sets] if attention else sets
    kept, lossy, tried = (), is_worse((), float32.path), 0
    while lossy and sets:
        kept = sets.pop(0)
        tried = len({*kept, *attention})
        lossy = is_worse(kept, float32.path)
    goal = file(kept) if lossy else float32.path
    for layer in reversed(kept):
        without = tuple(other for other in kept if other != layer)
        if not is_worse(without, goal):
            kept = without
    named = {"float32": float32.path, "int8": int8.path}
    if kept:
        named["exempt"] = file(kept)
    return Exemptions(
        layers=kept,
        path=file(kept),
        scores=compare_scores(named, data),
        score=score_of(named, data),
        tried=tried,
    )


def _attention(errors: pd.DataFrame) -> tuple[str, ...]:
    """The layers that use a softmax as weights, each as a whole, including sub-layers."""
    kinds = errors.operators.str.split(", ")
    return tuple(
        layer for layer, of in kinds.items() if layer and {"SOFTMAX", "BATCH_MATMUL"} <= set(of)
    )
