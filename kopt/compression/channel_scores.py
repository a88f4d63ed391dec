"""How important each channel is: the higher the score, the longer it stays.

A channel's score is taken over every weight that makes or reads it, each weight's scores being
divided by their mean, so that large and small layers can be ranked together.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kopt.compression.channel_graph import ChannelGraph
from kopt.data import Data
from kopt.errors import DataError, ModelError, ParameterError
from kopt.training import check_classifier, gives_probabilities

_BATCH, _MOST_BATCHES = 64, 8


def score_channels(
    graph: ChannelGraph, model: keras.Model, criterion: str, data: Data | None = None
) -> dict[int, float]:
    """Score the channels of a model's groups, and freeze those that get no score.

    Args:
        graph: the channels of the model.
        model: the model itself.
        criterion: "norm", "batchnorm" or "taylor", see `kopt.remove_channels`.
        data: for "taylor"; at most 512 training samples are used.

    Returns:
        Channel id -> score, 0 or more, 1 on average.
    """
    if criterion == "norm":
        return _accumulate(graph, _squares_of_kernels, np.sqrt)
    if criterion == "batchnorm":
        return _scores_of_scales(graph, model)
    if criterion == "taylor":
        if data is None:
            raise DataError("criterion 'taylor' needs training samples; pass data=kopt.Data(...)")
        check_classifier(model, data)
        changes = _loss_changes(model, data)
        return _accumulate(graph, lambda layer, weight: changes.get(id(weight)), np.abs)
    raise ParameterError(f"criterion is {criterion!r}; expected one of norm, batchnorm, taylor")


def _accumulate(
    graph: ChannelGraph,
    values_of: Callable[[Any, Any], np.ndarray | None],
    finish: Callable[[np.ndarray], np.ndarray],
) -> dict[int, float]:
    """Sum a weight's values over everything but a channel axis, finish, scale, and average."""
    gathered: defaultdict[int, list[float]] = defaultdict(list)
    for layer in graph.layers.values():
        for weight, axes in zip(getattr(layer.layer, "weights", ()), layer.weights, strict=False):
            values = values_of(layer.layer, weight) if axes else None
            if values is None:
                continue
            for axis, ids in axes.items():
                others = tuple(set(range(values.ndim)) - {axis % values.ndim})
                along = finish(values.sum(axis=others))
                along = along / (along.mean() or 1.0)
                for channel, score in zip(graph.roots(ids).tolist(), along, strict=True):
                    gathered[channel].append(float(score))
    return {channel: float(np.mean(values)) for channel, values in gathered.items()}


def _squares_of_kernels(layer: Any, weight: Any) -> np.ndarray | None:
    values = np.asarray(weight, dtype="float64")
    return values**2 if values.ndim > 1 else None


def _scores_of_scales(graph: ChannelGraph, model: keras.Model) -> dict[int, float]:
    def scales(layer: Any, weight: Any) -> np.ndarray | None:
        if isinstance(layer, keras.layers.BatchNormalization) and weight is layer.gamma:
            return np.abs(np.asarray(weight, dtype="float64"))
        return None

    scores = _accumulate(graph, scales, np.abs)
    if not scores:
        raise ModelError(
            f"{model.name} has no BatchNormalization scale to rank channels by; "
            "use criterion='norm' or 'taylor'"
        )
    for group in graph.groups:
        unscored = [channel for channel in group.channels if channel not in scores]
        graph.freeze(unscored, "no BatchNormalization scale to rank it by")
    return scores


def _loss_changes(model: keras.Model, data: Data) -> Mapping[int, np.ndarray]:
    """For each trainable weight, its value times the gradient of the loss, summed over batches."""
    import tensorflow as tf

    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=not gives_probabilities(model, data.x_train)
    )
    weights = model.weights
    changes = {id(weight): np.zeros(weight.shape) for weight in weights}
    for start in range(0, min(len(data.x_train), _BATCH * _MOST_BATCHES), _BATCH):
        batch = slice(start, start + _BATCH)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([weight.value for weight in weights])
            value = loss(data.y_train[batch], model(data.x_train[batch], training=False))
        gradients = tape.gradient(value, [weight.value for weight in weights])
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                changes[id(weight)] += np.asarray(weight) * np.asarray(gradient)
    return changes
