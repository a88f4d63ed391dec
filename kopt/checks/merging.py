"""The exercise of predicting what merging a loop leaves."""

from typing import Any

import pandas as pd

from kopt.checks.check import Check, check_number, no_question

PRODUCTS = ("Conv", "DepthwiseConv", "MatMul", "BatchMatMul", "Einsum")


def products_left(answer: Any, before: pd.DataFrame, after: pd.DataFrame) -> Check:
    """How many convolutions and matrix products a model has once its loops are merged.

    Args:
        answer: the number of them.
        before, after: the model's graph as :func:`leankeras.runtime.operation_graph` gives it.

    Example:
        >>> products_left(4, before, after)
        right: 67 are now 4
    """
    old, new = (int(each.operation.str.startswith(PRODUCTS).sum()) for each in (before, after))
    if old == new:
        return no_question("no convolution or matrix product was merged in this model")
    return check_number(
        answer,
        new,
        task="the number of convolutions and matrix products in the whole rewritten model",
        because=f"{old} are now {new}",
        hint="which of them need a result of the turn before? Only those stay as many as there "
        "are turns; do not forget the other layers",
        mistakes=(
            (old, "that is how many there are now"),
            (old - new, "that is how many go away; how many are left?"),
            (1, "count those of the other layers, too"),
        ),
        tolerance=0.035,  # a first turn that starts from zeros may or may not need its product
    )
