"""Which of several models or files to keep, as their measurements and a budget say."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from leankeras.budget import Budget
from leankeras.task import Merit


def pick_fastest(table: pd.DataFrame, sizes: Mapping[Any, Any]) -> Any:
    """The name of the smallest target whose interval overlaps with that of the fastest.

    The lowest ratio alone would name one or the other of two targets that are about as fast.

    Args:
        table: some rows of a :class:`Comparison`'s table, or of :func:`.compare_files`: ``ratio``,
            ``ratio_low`` and ``ratio_high``, by target name.
        sizes: target name to the size of its file, in any unit, or to a tuple of that and what
            decides between equal sizes.

    Example:
        >>> pick_fastest(comparison.table.drop("slow"), {"Conv1D": 134068, "Conv2D": 134620})
        'Conv1D'
    """
    limit = table.ratio_high[table.ratio.idxmin()]
    return min(table.index[table.ratio_low <= limit], key=lambda name: sizes[name])


def choose(
    table: pd.DataFrame, budget: Budget, merit: Merit, given: Any = None, later: bool = False
) -> tuple[Any, str]:
    """The fastest target that loses no more than the budget allows, and why it is chosen.

    Of those that are equally fast, as far as can be measured, it is the smallest, and of these the
    one that loses least. If none keeps the budget, it is the one that loses least.

    Args:
        table: rows of :func:`.compare_files`, relative to the model that the budget is held
            against.
        budget: limits the loss.
        merit: the figure of merit whose loss is limited.
        given: the name of what there was before, if it is in the table.
        later: whether the loss may still be won back; only a loss whose whole interval is beyond
            the budget counts then.

    Returns:
        The name of the target, and a line with the reason, the loss and the latency.

    Raises:
        ParameterError: the budget limits another kind of figure.

    Example:
        >>> choose(table, Budget(accuracy_loss=0.01), score, given="float32")[1]
        'int8 (the best that is within the budget): -0.4 points [-1.1, +0.3]: too close to call,
        0.31× the latency'
    """
    lost, limit = merit.columns[1], budget.may_lose(merit)
    held = table["lost_low" if later else lost]
    good = table if limit is None else table[held <= limit]
    if good.empty:
        chosen, why = table[lost].idxmin(), "nothing is within the budget, and this loses least"
    else:
        sizes = {name: (row.size_kb, row[lost]) for name, row in good.iterrows()}
        chosen = pick_fastest(good, sizes)
        why = f"the best that {'may be held' if later else 'is'} within the budget"
        if chosen == given:
            why = "as it came; nothing faster is within the budget"
    row = table.loc[chosen]
    return chosen, f"{chosen} ({why}): {merit.gain_in_words(row)}, {row.ratio:.2f}× the latency"


def largest_share(curve: pd.DataFrame, budget: Budget, merit: Merit) -> float:
    """The largest setting of a curve whose loss may be held within the budget.

    A loss may be held unless its whole interval is beyond the limit (beyond 0, where the budget
    does not limit the loss).

    Args:
        curve: rows of :func:`.compare_files` against the one at 0.0, indexed by the setting.
        budget: limits the loss.
        merit: the figure of merit whose loss is limited.

    Raises:
        ParameterError: the budget limits another kind of figure.

    Example:
        >>> largest_share(curve, Budget(accuracy_loss=0.01), score)
        0.5
    """
    limit = budget.may_lose(merit) or 0.0
    return float(max([0.0, *curve.index[curve.lost_low <= limit]]))


def pareto_front(costs: pd.DataFrame) -> np.ndarray:
    """The rows that no other row beats by being as low in everything and lower in something.

    Args:
        costs: one column for each quantity, the lower the better.

    Returns:
        One boolean per row; rows that are equal in everything do not beat each other.

    Example:
        >>> pareto_front(pd.DataFrame({"us": [9, 5, 9], "error": [0.1, 0.2, 0.2]}))
        array([ True,  True, False])
    """
    rows = costs.to_numpy(float)
    beaten = [((rows <= row).all(axis=1) & (rows < row).any(axis=1)).any() for row in rows]
    return ~np.array(beaten, dtype=bool)
