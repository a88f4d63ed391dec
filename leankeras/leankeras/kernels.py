"""Tables of what is planned for each layer and of what was done, with a row for each layer.

The plan is shown before training starts, so nobody trains for an hour only to learn that nothing
was compressed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from leankeras.errors import ModelError
from leankeras.graph import is_graph


@dataclass(frozen=True)
class Coverage:
    """The plan for one layer that has kernels.

    Attributes:
        layer: its name.
        kind: its class.
        weights: how many weights its kernels hold.
        plan: what will be done to it; empty if it is left alone.
        left_because: why it is left alone.
    """

    layer: str
    kind: str
    weights: int
    plan: str = ""
    left_because: str = ""


def coverage_table(rows: Sequence[Coverage]) -> pd.DataFrame:
    """One row for each layer: layer, kind, weights, plan, left because."""
    return pd.DataFrame(
        [(row.layer, row.kind, row.weights, row.plan, row.left_because) for row in rows],
        columns=["layer", "kind", "weights", "plan", "left because"],
    )


def check_names(rows: Sequence[Coverage], names: Sequence[str]) -> None:
    """Refuse names of layers that the model does not have.

    Raises:
        ModelError: a name does not belong to a layer with kernels.
    """
    known = [row.layer for row in rows]
    for name in names:
        if name not in known:
            raise ModelError(
                f"{name!r} is not a layer with kernels; the model has "
                f"{', '.join(known) or 'no such layer'}"
            )


def planned_names(model: keras.Model, rows: Sequence[Coverage], action: str) -> set[str]:
    """Names of the layers for which something is planned.

    Raises:
        ModelError: nothing is planned for any layer; the message says why, layer by layer.
    """
    planned = {row.layer for row in rows if row.plan}
    if not planned:
        reasons = "; ".join(f"{row.layer}: {row.left_because}" for row in rows)
        raise ModelError(
            f"{model.name} has no layer to {action} ({reasons or 'it has no kernels'})"
        )
    return planned


def measure_kernels(model: keras.Model) -> pd.DataFrame:
    """Count the zeros and the distinct values in the kernels of a Keras 3 model.

    Kernels are the trainable weights of rank 2 or more that are not biases.

    Args:
        model: a built model; nested models are included.

    Returns:
        A frame indexed by layer: ``weights``, how many there are; ``sparsity``, the fraction that
        is exactly zero; ``unique``, the largest number of distinct values in any one kernel.

    Example:
        >>> measure_kernels(leankeras.prune(model, data, sparsity=0.8))["sparsity"]
    """
    rows = {}
    for layer in _layers(model):
        kernels = [np.asarray(kernel) for kernel in kernels_of(layer)]
        if kernels:
            size = sum(kernel.size for kernel in kernels)
            zeros = sum(int((kernel == 0).sum()) for kernel in kernels)
            rows[layer.name] = (size, zeros / size, max(len(np.unique(k)) for k in kernels))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["weights", "sparsity", "unique"])
    return table.rename_axis("layer")


def kernels_of(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The trainable weights of rank 2 or more that are not biases (some biases have rank 2)."""
    return [
        weight
        for weight in layer.trainable_weights
        if len(weight.shape) >= 2 and not weight.path.endswith("bias")
    ]


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    if not is_graph(model):
        yield model
        return
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
