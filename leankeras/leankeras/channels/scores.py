"""The importance of each channel: those with the lowest scores are removed first.

A channel's score is the average over every weight that makes or reads it; each weight's scores are
divided by their mean, so that large and small layers can be ranked together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from leankeras.arrays import count_samples
from leankeras.channels.groups import ChannelGraph
from leankeras.data import Data
from leankeras.errors import DataError, ModelError, ParameterError
from leankeras.objective import find_objective

_MOST_SAMPLES = 256

# The scores of the channels along one axis of a weight, or None if the weight does not count. The
# axis comes with the number of the channel at each position: after Flatten a channel has many.
_Along = Callable[[Any, Any, int, np.ndarray], np.ndarray | None]


def score_channels(
    graph: ChannelGraph, model: keras.Model, criterion: str, data: Data | None = None
) -> dict[int, float]:
    """Score the channels of a model's groups, and freeze those without a score.

    Args:
        graph: the channels of the model.
        model: the model itself.
        criterion: "norm", "batchnorm" or "taylor"; see `leankeras.remove_channels`.
        data: for "taylor"; at most 256 training samples are used.

    Returns:
        Channel id -> score, 0 or more, 1 on average.
    """
    if criterion == "norm":
        return _accumulate(graph, _norms)
    if criterion == "batchnorm":
        return _scores_of_scales(graph, model)
    if criterion == "taylor":
        if data is None:
            raise DataError("criterion 'taylor' needs training samples; pass data=Data(...)")
        changes = _loss_changes(graph, model, data)
        return _accumulate(
            graph, lambda layer, weight, axis, channels: changes.get((id(weight), axis))
        )
    raise ParameterError(f"criterion is {criterion!r}; expected one of norm, batchnorm, taylor")


def _accumulate(graph: ChannelGraph, along: _Along) -> dict[int, float]:
    """Average each channel's scores over the weights that count, scaled to a mean of 1."""
    gathered: defaultdict[int, list[float]] = defaultdict(list)
    for layer, weight, axes in _weights(graph):
        for axis, ids in axes.items():
            channels, numbers = np.unique(graph.roots(ids), return_inverse=True)
            scores = along(layer, weight, axis, numbers)
            if scores is not None:
                scaled = scores / (scores.mean() or 1.0)
                for channel, score in zip(channels.tolist(), scaled.tolist(), strict=True):
                    gathered[channel].append(score)
    return {channel: float(np.mean(scores)) for channel, scores in gathered.items()}


def _weights(graph: ChannelGraph) -> Iterator[tuple[Any, Any, dict[int, np.ndarray]]]:
    for known in graph.layers.values():
        if known.weights:
            for weight, axes in zip(known.layer.weights, known.weights, strict=False):
                yield known.layer, weight, axes


def _sum_by_channel(values: np.ndarray, axis: int, channels: np.ndarray) -> np.ndarray:
    along = values.sum(axis=tuple(set(range(values.ndim)) - {axis % values.ndim}))
    return np.bincount(channels, weights=along)


def _norms(layer: Any, weight: Any, axis: int, channels: np.ndarray) -> np.ndarray | None:
    if len(weight.shape) < 2:
        return None
    return np.sqrt(_sum_by_channel(np.asarray(weight, dtype="float64") ** 2, axis, channels))


def _scores_of_scales(graph: ChannelGraph, model: keras.Model) -> dict[int, float]:
    def scales(layer: Any, weight: Any, axis: int, channels: np.ndarray) -> np.ndarray | None:
        if isinstance(layer, keras.layers.BatchNormalization) and weight is layer.gamma:
            return _sum_by_channel(np.abs(np.asarray(weight, dtype="float64")), axis, channels)
        return None

    scores = _accumulate(graph, scales)
    if not scores:
        raise ModelError(
            f"{model.name} has no BatchNormalization scale to rank channels by; "
            "use criterion='norm' or 'taylor'"
        )
    for group in graph.groups:
        unscored = [channel for channel in group.channels if channel not in scores]
        graph.freeze(unscored, "no BatchNormalization scale to rank it by")
    return scores


def _loss_changes(
    graph: ChannelGraph, model: keras.Model, data: Data
) -> dict[tuple[int, int], np.ndarray]:
    """The contribution of each channel's weights to the loss, for each kernel and axis.

    The sum of weight times gradient is the first-order change of the loss when the weights
    become zero. It is squared sample by sample: over many samples the signs cancel, and the
    gradient of a trained model vanishes.
    """
    import tensorflow as tf

    objective = find_objective(model, data)
    targets = objective.targets(data.labels("train"))
    losses = keras.tree.flatten(objective.losses(keras, targets))
    kernels = [(weight, axes) for _, weight, axes in _weights(graph) if len(weight.shape) > 1]
    values = [kernel.value for kernel, _ in kernels]

    @tf.function
    def gradients(x: Any, y: Any) -> list[Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            outputs = keras.tree.flatten(model(x, training=False))
            wanted = keras.tree.flatten(y)
            value = sum(loss(*pair) for loss, *pair in zip(losses, wanted, outputs, strict=True))
        return tape.gradient(value, values, unconnected_gradients="zero")

    squares: defaultdict[tuple[int, int], Any] = defaultdict(float)
    count = min(_MOST_SAMPLES, count_samples(data.x_train))
    numbers = {
        id(ids): np.unique(graph.roots(ids), return_inverse=True)[1]
        for _, axes in kernels
        for ids in axes.values()
    }
    for row in range(count):
        x, y = keras.tree.map_structure(
            lambda array, row=row: tf.constant(array[row : row + 1]), (data.x_train, targets)
        )
        for (kernel, axes), gradient in zip(kernels, gradients(x, y), strict=True):
            change = np.asarray(kernel) * np.asarray(tf.convert_to_tensor(gradient))
            for axis, ids in axes.items():
                sums = _sum_by_channel(change, axis, numbers[id(ids)])
                squares[id(kernel), axis] += sums**2
    return {key: np.sqrt(total) for key, total in squares.items()}
