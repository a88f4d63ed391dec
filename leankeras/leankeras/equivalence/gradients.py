"""How fast a layer's outputs change with its inputs and weights, compared between two layers."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Gradient = np.ndarray | None


def gradients(layer: keras.Layer, inputs: Any) -> tuple[list[Gradient], list[Gradient]]:
    """Gradients of a fixed random combination of a layer's outputs, in inference mode.

    Args:
        layer: a built layer or model.
        inputs: a batch of inputs, tensors.

    Returns:
        One for each input and one for each trainable weight, in their order; None where no
        gradient flows.
    """
    tensors = keras.tree.flatten(inputs)
    rng = np.random.default_rng(0)
    with tf.GradientTape() as tape:
        tape.watch([tensor for tensor in tensors if tensor.dtype.is_floating])
        loss = tf.constant(0.0)
        for output in keras.tree.flatten(layer(inputs, training=False)):
            direction = rng.normal(size=output.shape).astype("float32")
            if output.dtype.is_floating:
                loss += tf.reduce_sum(tf.cast(output, "float32") * direction)
    sources = tensors + [weight.value for weight in layer.trainable_weights]
    try:
        found = tape.gradient(loss, sources)
    except LookupError:  # an operation in it has no gradient at all
        found = [None] * len(sources)
    dense = [None if one is None else tf.convert_to_tensor(one).numpy() for one in found]
    return dense[: len(tensors)], dense[len(tensors) :]


def slopes(
    reference: keras.Layer,
    candidate: keras.Layer,
    port: Callable[[], None],
    gradients_of_reference: list[Gradient],
    gradients_of_candidate: list[Gradient],
) -> Iterator[tuple[str, float, float, float]]:
    """The change of both losses as each weight of the reference moves and is ported.

    The two layers may hold their weights in other shapes, so gradients cannot be compared
    directly; the slope along a direction that ``port`` carries over can, by the chain rule. It
    needs a ``port`` that is linear in the weight (copies, stacks, transposes); a weight for which
    it is not, is left out.

    Args:
        reference: its trainable weights are moved, and put back.
        candidate: its weights are set by ``port``.
        port: sets the candidate's weights from the reference's.
        gradients_of_reference: one for each of its trainable weights.
        gradients_of_candidate: one for each of its trainable weights.

    Returns:
        An iterator of ``(weight's name, slope of the reference, slope of the candidate, scale)``;
        the scale is how large a slope of unrelated gradients would be.
    """
    rng = np.random.default_rng(1)
    start = [weight.numpy() for weight in candidate.trainable_weights]
    for weight, gradient in zip(reference.trainable_weights, gradients_of_reference, strict=True):
        if gradient is None:
            continue
        value = weight.numpy()
        size = float(np.sqrt(np.mean(np.square(value)))) or 1.0
        direction = (size * rng.normal(size=value.shape)).astype(value.dtype)
        forward = _moves(weight, value + direction, candidate, port, start)
        backward = _moves(weight, value - direction, candidate, port, start)
        weight.assign(value)
        if not all(
            np.allclose(there, -back, atol=1e-3 * size)
            for there, back in zip(forward, backward, strict=True)
        ):
            continue
        terms = gradient * direction
        ported = sum(
            float(np.sum(other * move))
            for other, move in zip(gradients_of_candidate, forward, strict=True)
            if other is not None
        )
        scale = float(np.sqrt(np.sum(np.square(terms))))
        yield weight.path, float(np.sum(terms)), ported, scale


def _moves(
    weight: keras.Variable,
    value: np.ndarray,
    candidate: keras.Layer,
    port: Callable[[], None],
    start: list[np.ndarray],
) -> list[np.ndarray]:
    weight.assign(value)
    port()
    return [
        other.numpy() - before
        for other, before in zip(candidate.trainable_weights, start, strict=True)
    ]
