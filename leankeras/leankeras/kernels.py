"""The kernels of a model: what is planned for each layer, what was done, and how large they are.

The plan is shown before training starts, so nobody trains for an hour only to learn that nothing
was compressed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd

from leankeras.errors import ModelError
from leankeras.graph import flat_layers, is_graph

WITH_KERNEL = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


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


@dataclass(frozen=True)
class Kernel:
    """The kernel of a layer, described by the sizes needed to count its weights.

    Attributes:
        layer: the layer's name.
        window: weights per pair of an input and an output channel; 5 for a convolution over 5
            steps, 9 over 3 × 3 pixels, 1 for a dense layer.
        inputs: channels the layer reads.
        outputs: channels the layer produces.
        has_bias: whether there is a bias for each output.
    """

    layer: str
    window: int
    inputs: int
    outputs: int
    has_bias: bool

    def __str__(self) -> str:
        biases = f"{self.outputs} biases" if self.has_bias else "no biases"
        return (
            f"{self.layer}: window of {self.window}, {self.inputs} inputs, {self.outputs} outputs, "
            f"{biases}"
        )


def widest_kernel(model: keras.Model) -> Kernel:
    """The kernel with the most weights among a model's dense and convolutional layers.

    For a model without such layers it is a kernel without weights.

    Example:
        >>> print(widest_kernel(model))
        conv_3: window of 5, 64 inputs, 64 outputs, 64 biases
    """
    kernels = [Kernel("none", 0, 0, 0, False)]
    for layer in flat_layers(model):
        if isinstance(layer, WITH_KERNEL):
            *window, inputs, outputs = layer.kernel.shape
            size = int(np.prod(window, dtype=int))
            kernels.append(Kernel(layer.name, size, inputs, outputs, layer.use_bias))
    return max(kernels, key=lambda kernel: kernel.window * kernel.inputs * kernel.outputs)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    if not is_graph(model):
        yield model
        return
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
