"""Which samples are set aside to choose by."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from leankeras.errors import DataError

PART = 0.2
ANOMALY_PART = 1 / 3


def validation_rows(count: int, y: Any = None, groups: np.ndarray | None = None) -> np.ndarray:
    """Rows of the training part to validate on, always the same for the same labels.

    Where there are groups (people, recordings), whole groups are set aside, the fewest that hold a
    fifth of the samples, so that no group is on both sides; else a fifth, and of every class where
    the labels are class indices.

    Args:
        count: how many samples there are.
        y: their labels, of any shape; arrays by name, or None.
        groups: the group of each sample, shape ``(n,)``.

    Returns:
        Sorted row numbers. Every class keeps samples to train on.

    Raises:
        DataError: there are too few samples or groups.
    """
    strata = _strata(count, y)
    rows = _of_each(strata) if groups is None else _whole_groups(strata, groups)
    if not len(rows):
        what = "class has a second sample" if groups is None else "group can be spared"
        raise DataError(f"no {what} to validate on; give x_val and y_val")
    return np.sort(rows)


def anomaly_rows(y: np.ndarray) -> np.ndarray:
    """A third of the test part, of each label, to validate on.

    Raises:
        DataError: labels other than 0 and 1, or too few of one.
    """
    if y.ndim != 1 or set(np.unique(y)) != {0, 1}:
        raise DataError(
            f"y_test without y_train has shape {y.shape} and the values {np.unique(y)[:5]}; "
            "expected 1 for each test sample that is an anomaly, and 0 for the others"
        )
    rows = _of_each(y, ANOMALY_PART)
    if set(y[rows]) != {0, 1}:
        raise DataError("y_test marks too few anomalies to set some aside; give x_val and y_val")
    return np.sort(rows)


def _strata(count: int, y: Any) -> np.ndarray:
    """What each sample counts as; every class has to stay in the training part."""
    for labels in y.values() if isinstance(y, Mapping) else [y]:
        if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iub":
            return labels
    return np.zeros(count, int)


def _of_each(strata: np.ndarray, part: float = PART) -> np.ndarray:
    random = np.random.default_rng(0)
    chosen = []
    for label in np.unique(strata):
        rows = random.permutation(np.flatnonzero(strata == label))
        chosen.append(rows[: min(len(rows) - 1, max(1, round(part * len(rows))))])
    return np.concatenate(chosen)


def _whole_groups(strata: np.ndarray, groups: np.ndarray) -> np.ndarray:
    aside = np.zeros(len(strata), bool)
    for group in np.random.default_rng(0).permutation(np.unique(groups)):
        wider = aside | (groups == group)
        if len(np.unique(strata[~wider])) == len(np.unique(strata)):
            aside = wider
        if aside.sum() >= PART * len(strata):
            break
    return np.flatnonzero(aside)
