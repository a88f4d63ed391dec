"""Accuracy of several artifacts on the same samples, compared sample by sample."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from leankeras.runtime.artifacts import predict


def compare_accuracy(
    targets: Mapping[Any, Any], x: np.ndarray, y: np.ndarray, reference: Any = None
) -> pd.DataFrame:
    """Score artifacts on the same samples, with an interval for each difference.

    Two models judged on the same samples mostly agree, so the interval comes from the samples on
    which they differ (a paired comparison, as in McNemar's test) and is far narrower than what
    two separate error bars suggest. An interval that spans 0 is neither a loss nor a gain.

    Args:
        targets: name to target, as accepted by :func:`leankeras.evaluate`.
        x: samples, shape ``(n, ...)``.
        y: class indices, shape ``(n,)``.
        reference: a name in ``targets``; by default the first.

    Returns:
        Indexed by name: ``accuracy``, and ``accuracy_lost`` against the reference with its 95 %
        interval ``lost_low`` and ``lost_high``, all fractions; negative is a gain.

    Example:
        >>> compare_accuracy({"float": "a.tflite", "int8": "b.tflite"}, data.x_test, data.y_test)
    """
    correct = {name: predict(target, x).argmax(axis=-1) == y for name, target in targets.items()}
    base = correct[next(iter(correct)) if reference is None else reference].astype(float)
    rows = {}
    for name, hits in correct.items():
        lost = base - hits
        margin = 1.96 * lost.std() / np.sqrt(len(lost))
        rows[name] = {
            "accuracy": float(hits.mean()),
            "accuracy_lost": float(lost.mean()),
            "lost_low": float(lost.mean() - margin),
            "lost_high": float(lost.mean() + margin),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")


def gain_in_words(row: pd.Series) -> str:
    """A row of :func:`compare_accuracy` as a gain, with its interval and a verdict.

    Example:
        >>> gain_in_words(compare_accuracy(files, data.x_val, data.y_val).loc["int8"])
        '-0.4 points [-1.1, +0.3]: too close to call'
    """
    gain, low, high = 0 - 100 * row[["accuracy_lost", "lost_high", "lost_low"]]
    verdict = "better" if low > 0 else "worse" if high < 0 else "too close to call"
    return f"{gain:+.1f} points [{low:+.1f}, {high:+.1f}]: {verdict}"
