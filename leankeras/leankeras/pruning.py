"""Magnitude, 2:4 and block pruning of Keras 3 models, through tensorflow-model-optimization.

Zeros save space in a compressed file. They save time only on a runtime that skips them, which
LiteRT on x86 with AVX does not; for speed, remove channels (`leankeras.remove_channels`).
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.sparsity.keras.prunable_layer import PrunableLayer
from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

from leankeras.arrays import count_samples, first
from leankeras.data import Data
from leankeras.errors import ParameterError
from leankeras.kernels import (
    Coverage,
    check_names,
    coverage_table,
    kernels_of,
    measure_kernels,
    planned_names,
)
from leankeras.objective import find_objective
from leankeras.parameters import check_parameters
from leankeras.training import batches_per_epoch, fit
from leankeras.twin import Twin, native_layer

BATCH_SIZE = 64
# Four inputs of one output: what TFLite stores as a 1×4 block of its transposed kernel.
BLOCK = (4, 1)
# How often the masks are updated while the sparsity rises, and over what part of the training.
UPDATES, RISE = 20, 0.75


def prune(
    model: keras.Model,
    data: Data,
    method: str = "magnitude",
    sparsity: float = 0.5,
    epochs: int = 2,
    schedule: str = "constant",
    leave: Sequence[str] | None = None,
    verbose: int = 1,
) -> keras.Model:
    """Train a copy of the model while its smallest weights are held at zero.

    Depthwise kernels, biases and everything else of rank 1 stay dense. Recurrent, attention and
    custom layers are pruned. "2:4" and "block" apply only to kernels of the ranks they are defined
    for; the table names the layers they skip. Training uses Adam with a cosine schedule and whole
    batches of 64, in float32 whatever the model's precision.

    Args:
        model: a built Keras 3 model. It is not changed.
        data: what to train on; the test part is not used.
        method: what is set to zero. "magnitude": single weights (Zhu and Gupta,
            arXiv:1710.01878); "2:4": the two smallest of every four weights along the inputs
            (kernels of rank 2 and 4); "block": blocks of four inputs of one output, those with the
            smallest mean (kernels of rank 2).
        sparsity: the fraction of each kernel to set to zero, in [0, 1); always 0.5 with "2:4".
        epochs: passes over the training part.
        schedule: "constant" prunes from the first step; "polynomial" raises the sparsity from 0
            over the first three quarters of the training. With "2:4" the masks are set once.
        leave: names of layers to leave dense. By default the first and the last of three layers
            or more; a list replaces that default, so ``[]`` prunes them too.
        verbose: 1 prints the table of layers before training and the sparsity reached after it,
            0 prints nothing.

    Returns:
        A new, uncompiled Keras 3 model with exact zeros; `measure_kernels` counts them.

    Raises:
        ParameterError: a parameter is unknown or out of range.
        ModelError: the model is not built, has NaN weights or does not fit the data, a name
            matches no layer, or there is nothing to prune.
        TwinError: the model cannot be rebuilt in tf_keras.

    Example:
        >>> sparse = leankeras.prune(model, data, sparsity=0.8, schedule="polynomial")
    """
    check_parameters({"sparsity": sparsity, "epochs": epochs})
    for name, value, known in (
        ("method", method, ("magnitude", "2:4", "block")),
        ("schedule", schedule, ("constant", "polynomial")),
    ):
        if value not in known:
            raise ParameterError(f"{name} is {value!r}; expected one of {', '.join(known)}")
    if method == "2:4" and sparsity != 0.5:
        raise ParameterError(f"sparsity is {sparsity}; 2:4 always gives 0.5, so leave sparsity out")
    objective = find_objective(model, data)
    twin = Twin.of(model, first(data.x_train), _prunes_natively)
    rows = plan_pruning(twin, method, sparsity, leave)
    chosen = planned_names(model, rows, "prune")
    if verbose:
        print(coverage_table(rows).to_string(index=False))
    steps = epochs * batches_per_epoch(count_samples(data.x_train), BATCH_SIZE)
    wrapped = _wrap(twin.model, chosen, _arguments(method, sparsity, schedule, steps))
    fit(
        wrapped,
        data,
        epochs,
        batch_size=BATCH_SIZE,
        objective=objective,
        framework=tf_keras,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    pruned = twin.write_back(tfmot.sparsity.keras.strip_pruning(wrapped))
    if verbose:
        reached = measure_kernels(pruned)
        zeros = (reached["weights"] * reached["sparsity"]).sum() / reached["weights"].sum()
        print(f"{zeros:.1%} of the kernel weights of {model.name} are zero")
    return pruned


def plan_pruning(
    twin: Twin, method: str, sparsity: float, leave: Sequence[str] | None
) -> list[Coverage]:
    """Decide for each layer with kernels whether it will be pruned, and if not, why not.

    Args:
        twin: the model's twin.
        method: "magnitude", "2:4" or "block".
        sparsity: the fraction of each kernel to set to zero.
        leave: layers to leave; None for the first and the last of more than two.
    """
    prunable = {
        layer.name: _prunable_weights(layer)
        for layer in twin.model.layers
        if layer.name in twin.layers and kernels_of(twin.layers[layer.name])
    }
    names = list(prunable)
    ends = {names[0]: "the first layer", names[-1]: "the last layer"} if len(names) > 2 else {}
    left = ends if leave is None else dict.fromkeys(leave, "left as asked")
    rows = []
    for name, weights in prunable.items():
        kind = type(twin.layers[name]).__name__
        because = left.get(name) or _obstacle(kind, [tuple(w.shape) for w in weights], method)
        plan = "" if because else f"{method} {sparsity:.0%}"
        size = sum(int(weight.shape.num_elements()) for weight in weights)
        rows.append(Coverage(name, kind, size, plan, because or ""))
    check_names(rows, () if leave is None else leave)
    return rows


def _prunes_natively(layer: keras.layers.Layer) -> bool:
    """Whether the library knows what to prune in the tf_keras layer; a bridge always does."""
    native = native_layer(layer)
    return native is not None and PruneRegistry.supports(native)


def _prunable_weights(layer: tf_keras.layers.Layer) -> list[tf.Variable]:
    if not isinstance(layer, PrunableLayer):
        layer = PruneRegistry.make_prunable(layer)
    return layer.get_prunable_weights()


def _obstacle(kind: str, shapes: list[tuple[int, ...]], method: str) -> str | None:
    if not shapes or "Depthwise" in kind:
        return "depthwise kernels stay dense"
    for shape in shapes:
        rank = len(shape)
        if method == "2:4" and rank not in (2, 4):
            return f"2:4 pruning takes kernels of rank 2 and 4, not {rank}"
        if method == "block" and rank != 2:
            return f"block pruning takes kernels of rank 2, not {rank}"
        # The library drops an axis along which there is only one block.
        if method == "block" and (shape[0] <= BLOCK[0] or shape[1] <= BLOCK[1]):
            return f"a kernel of shape {shape} has too few blocks of {BLOCK[0]} inputs"
    return None


def _arguments(method: str, sparsity: float, schedule: str, steps: int) -> dict[str, Any]:
    """Arguments of ``prune_low_magnitude`` that make the masks final before training ends."""
    begin = 1  # the library counts its steps from 1
    rise = int(RISE * (steps - begin))
    if schedule == "polynomial" and rise > 0:
        frequency = max(1, rise // UPDATES)
        decay = tfmot.sparsity.keras.PolynomialDecay(
            0.0, sparsity, begin, begin + rise // frequency * frequency, frequency=frequency
        )
    else:
        decay = tfmot.sparsity.keras.ConstantSparsity(sparsity, begin)
    arguments = {"pruning_schedule": decay}
    if method == "2:4":
        arguments["sparsity_m_by_n"] = (2, 4)
    if method == "block":
        arguments["block_size"] = BLOCK
    return arguments


def _wrap(model: tf_keras.Model, chosen: set[str], arguments: dict[str, Any]) -> tf_keras.Model:
    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if layer.name in chosen:
            return tfmot.sparsity.keras.prune_low_magnitude(layer, **arguments)
        return layer

    return tf_keras.models.clone_model(model, clone_function=wrap)
