"""The activation ranges of a quantization-aware model: calibrated first, then followed.

tfmot starts every range at ±6 and follows the data with a decay of 0.999, which takes thousands
of steps to converge. Here the ranges are taken from the training samples before the first step,
and followed with a decay that suits fine-tuning over a few hundred steps.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
    QuantizeLayer,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import (
    QuantizeWrapper,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import (
    MovingAverageQuantizer,
)

from leankeras.arrays import Arrays, count_samples, each_array

DECAY = 0.99
BATCH = 64
CALIBRATION_SAMPLES = 1024


class FollowedRange(MovingAverageQuantizer):
    """Fake quantization to 8 bits with one range per tensor, which can be observed first."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        # While this is a dict, batch ranges are collected in it and values pass unquantized.
        self.observed: dict[Any, list[tuple[float, float]]] | None = None

    def __call__(
        self, inputs: tf.Tensor, training: bool, weights: dict, **kwargs: Any
    ) -> tf.Tensor:
        """Quantize a tensor; in training also move its range towards that of the batch."""
        if self.observed is not None:
            extremes = float(tf.reduce_min(inputs)), float(tf.reduce_max(inputs))
            self.observed.setdefault(weights["min_var"].ref(), []).append(extremes)
            return inputs
        return quant_ops.MovingAvgQuantize(
            inputs,
            weights["min_var"],
            weights["max_var"],
            ema_decay=DECAY,
            is_training=training,
            num_bits=self.num_bits,
        )


def calibrate(model: tf_keras.Model, samples: Arrays) -> None:
    """Set all ranges of a fresh quantization-aware model and have them followed from there.

    Weights take their actual range; an activation takes the mean over batches of the smallest
    and of the largest value, to which a moving average would converge.

    Args:
        model: the result of ``quantize_apply``.
        samples: training samples, shape ``(n, ...)``; the first 1024 are used.
    """
    quantizer = FollowedRange()
    range_variables = dict(_use(quantizer, model))
    quantizer.observed = {}
    count = min(CALIBRATION_SAMPLES, count_samples(samples))
    for start in range(0, count, BATCH):
        rows = slice(start, min(start + BATCH, count))
        model(each_array(samples, lambda array, rows=rows: array[rows]), training=False)
    observed, quantizer.observed = quantizer.observed, None
    for minimum, extremes in observed.items():
        low, high = np.mean(extremes, axis=0)
        minimum.deref().assign(min(low, 0.0))
        range_variables[minimum].assign(max(high, 0.0))


def _use(quantizer: FollowedRange, model: tf_keras.Model) -> Iterator[tuple[Any, tf.Variable]]:
    """Put the quantizer in all its places in a model; yield its pairs of range variables."""
    for layer in model.layers:
        if isinstance(layer, QuantizeLayer) and layer.quantizer:
            layer.quantizer = quantizer
            yield _pair(layer.quantizer_vars)
        if not isinstance(layer, QuantizeWrapper):
            continue
        for weight, weight_quantizer, ranges in layer._weight_vars:
            weight_quantizer(weight, training=True, weights=ranges)
        for activation in layer._quantize_activations:
            activation.quantizer = quantizer
            for ranges in ("_pre_activation_vars", "_post_activation_vars"):
                if hasattr(activation, ranges):
                    yield _pair(getattr(activation, ranges))
        if layer._output_quantizers:
            layer._output_quantizers = [quantizer]
            yield _pair(layer._output_quantizer_vars)


def _pair(ranges: dict[str, tf.Variable]) -> tuple[Any, tf.Variable]:
    return ranges["min_var"].ref(), ranges["max_var"]
