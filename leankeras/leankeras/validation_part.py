"""The choice of training samples to set aside for validation."""

import numpy as np

from leankeras.errors import DataError

PART = 0.2


def validation_rows(y: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Rows of the training part to validate on, always the same for the same labels.

    With groups (people, recordings), whole groups are set aside until they hold a fifth of the
    samples, so that no group is on both sides; without them, a fifth of every class.

    Args:
        y: class indices, shape ``(n,)``.
        groups: the group of each sample, shape ``(n,)``.

    Returns:
        Sorted row numbers. Every class keeps samples to train on.

    Raises:
        DataError: there are too few samples or groups.
    """
    rows = _of_each_class(y) if groups is None else _whole_groups(y, groups)
    if not len(rows):
        what = "class has a second sample" if groups is None else "group can be spared"
        raise DataError(f"no {what} to validate on; give x_val and y_val")
    return np.sort(rows)


def _of_each_class(y: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(0)
    chosen = []
    for label in np.unique(y):
        rows = random.permutation(np.flatnonzero(y == label))
        chosen.append(rows[: min(len(rows) - 1, max(1, round(PART * len(rows))))])
    return np.concatenate(chosen)


def _whole_groups(y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    aside = np.zeros(len(y), bool)
    for group in np.random.default_rng(0).permutation(np.unique(groups)):
        wider = aside | (groups == group)
        if len(np.unique(y[~wider])) == len(np.unique(y)):
            aside = wider
        if aside.sum() >= PART * len(y):
            break
    return np.flatnonzero(aside)
