"""How each layer of a model is fake-quantized: tfmot's own scheme, a generic one, or not at all.

tensorflow-model-optimization (tfmot) has schemes for a part of Keras. The generic scheme quantizes
the weights (of rank 2 and more, symmetric, one scale per tensor) and the output of a layer; ranges
of tensors inside the layer are calibrated when the model is converted.
"""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from keras import layers
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs,
    default_8bit_quantize_registry,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import (
    LastValueQuantizer,
    MovingAverageQuantizer,
)

from leankeras.graph import producers
from leankeras.quantization.ties import PASSING_LAYERS, is_passing, tied
from leankeras.twin import KerasOperation, native_layer

NATIVE, GENERIC = "native", "generic"
PASSING, LATER, FLOAT = "nothing to quantize", "at conversion", "left in float"

# Activations around which tfmot can place fake quantization.
ACTIVATIONS = {"linear", "relu", "softmax", "sigmoid", "tanh", "gelu", "silu"}
# TFLite's one_hot takes the two values it writes as floats or integers, not quantized.
WITHOUT_INTEGER_KERNEL = {"OneHot"}

ONE_DIMENSIONAL = (layers.Conv1D, layers.DepthwiseConv1D)

_registry = default_8bit_quantize_registry.Default8BitQuantizeRegistry()


@dataclass(frozen=True)
class Scheme:
    """The treatment of a layer, and the reason.

    Attributes:
        kind: ``"native"``, ``"generic"``, ``"nothing to quantize"``, ``"at conversion"`` or
            ``"left in float"``.
        reason: a description of why.
        output: whether training fixes the range of the output.
    """

    kind: str
    reason: str
    output: bool = True


def schemes_of(folded: keras.Model) -> dict[str, Scheme]:
    """Choose the scheme of each layer and operation of a folded model, by name."""
    names = tied(folded)
    return {
        operation.name: _scheme_of(operation, operation.name in names)
        for operation in folded.operations
        if not isinstance(operation, layers.InputLayer)
    }


def _scheme_of(operation: keras.Operation, is_tied: bool) -> Scheme:
    name = type(operation).__name__
    outputs = [tensor for node in producers(operation) for tensor in node.outputs]
    if is_passing(operation):
        return Scheme(PASSING, "passes on the range of its input")
    if not all("float" in tensor.dtype for tensor in outputs):
        return Scheme(FLOAT, "gives integers or booleans")
    if name in WITHOUT_INTEGER_KERNEL:
        return Scheme(FLOAT, "LiteRT has no integer kernel for it")
    has_kernels = any(len(v.shape) >= 2 for v in getattr(operation, "variables", []))
    several = len(outputs) > len(producers(operation))
    output = not is_tied and not several
    if not output and not has_kernels:
        why = "has several outputs" if several else "takes the range of the tensor it is tied to"
        return Scheme(LATER, why, output)
    if is_native(operation):
        if type(operation) in ONE_DIMENSIONAL:
            return Scheme(NATIVE, "as a 2-D convolution, a scale for each channel", output)
        return Scheme(NATIVE, "a scheme of tensorflow-model-optimization", output)
    what = " and ".join(["weights"] * has_kernels + ["output"] * output)
    return Scheme(GENERIC, f"no scheme for {name}: {what}; the inside at conversion", output)


def is_native(layer: keras.Operation) -> bool:
    """Whether tfmot has a scheme that is valid for this particular layer."""
    if not isinstance(layer, layers.Layer):
        return False
    activation = getattr(layer, "activation", None)
    # a user's function is serialized as a dict
    if activation is not None and str(keras.activations.serialize(activation)) not in ACTIVATIONS:
        return False
    if type(layer) in ONE_DIMENSIONAL:
        return layer.data_format == "channels_last" and native_layer(layer) is not None
    if isinstance(layer, PASSING_LAYERS):
        return True
    counterpart = native_layer(layer)
    return counterpart is not None and _registry.supports(counterpart)


class _As2D:
    """Runs a 1-D convolution as a 2-D one of width 1, as TFLite does.

    tfmot quantizes kernels of rank 4 per channel; for rank 3 that raises an error. Inside the
    layer the activation, and the fake quantization around it, come before the width is removed
    again, so that the converter can fuse them.
    """

    def __init__(self, left_padding: int = 0, **kwargs: Any) -> None:
        self.left_padding = left_padding
        super().__init__(**kwargs)
        # The base class requires rank 4 before the width is added.
        self.input_spec = None

    def build(self, input_shape: tuple) -> None:
        # tf_keras remembers the 2-D shape and builds a copy of the layer with that.
        super().build(_with_width(input_shape) if len(input_shape) == 3 else input_shape)
        self.input_spec = None

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(inputs, [[0, 0], [self.left_padding, 0], [0, 0]])
        image = tf.expand_dims(padded if self.left_padding else inputs, 2)
        return tf.squeeze(super().call(image), 2)

    def compute_output_shape(self, input_shape: tuple) -> Any:
        if len(input_shape) == 4:
            return super().compute_output_shape(input_shape)
        batch, length, channels = input_shape
        length = None if length is None else length + self.left_padding
        image = super().compute_output_shape(_with_width((batch, length, channels)))
        return tf.TensorShape([image[0], image[1], image[3]])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "left_padding": self.left_padding}


def _with_width(shape: tuple) -> tuple:
    return (shape[0], shape[1], 1, shape[2])


@tf_keras.utils.register_keras_serializable("leankeras")
class Conv1DAs2D(_As2D, tf_keras.layers.Conv2D):
    """A Conv1D whose kernel has rank 4: ``(size, 1, inputs, filters)``."""


@tf_keras.utils.register_keras_serializable("leankeras")
class DepthwiseConv1DAs2D(_As2D, tf_keras.layers.DepthwiseConv2D):
    """A DepthwiseConv1D whose kernel has rank 4: ``(size, 1, channels, multiplier)``."""


CONVOLUTION_KERNELS = {
    Conv1DAs2D: "kernel",
    DepthwiseConv1DAs2D: "depthwise_kernel",
    tf_keras.layers.Conv2D: "kernel",
    tf_keras.layers.DepthwiseConv2D: "depthwise_kernel",
}


def as_2d(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
    """Make the 2-D form of a tf_keras Conv1D or DepthwiseConv1D, without weights."""
    config = layer.get_config()
    is_depthwise = isinstance(layer, tf_keras.layers.DepthwiseConv1D)
    (size,), (stride,), (dilation,) = (
        config[name] for name in ("kernel_size", "strides", "dilation_rate")
    )
    causal = config["padding"] == "causal"
    config.update(
        kernel_size=(size, 1),
        # The depthwise operation takes only equal strides; for a width of 1 it makes no difference.
        strides=(stride, stride) if is_depthwise else (stride, 1),
        dilation_rate=(dilation, dilation) if is_depthwise else (dilation, 1),
        padding="valid" if causal else config["padding"],
        left_padding=(size - 1) * dilation if causal else 0,
    )
    return (DepthwiseConv1DAs2D if is_depthwise else Conv1DAs2D)(**config)


class OperationConfig(tfmot.quantization.keras.QuantizeConfig):
    """The generic scheme, for a layer that runs a Keras 3 operation.

    Args:
        output: whether the output is quantized, or only the weights.
    """

    def __init__(self, output: bool = True) -> None:
        self.output = output

    def get_weights_and_quantizers(self, layer: KerasOperation) -> list[tuple]:
        """Return each kernel with a symmetric quantizer of one scale."""
        return [
            (variable, LastValueQuantizer(8, per_axis=False, symmetric=True, narrow_range=True))
            for _, variable in layer.get_clusterable_weights()
        ]

    def set_quantize_weights(self, layer: KerasOperation, quantize_weights: list) -> None:
        """Make the operation compute with the quantized kernels."""
        for name, weight in zip(layer.kernels, quantize_weights, strict=True):
            setattr(layer, name, weight)

    def get_activations_and_quantizers(self, layer: KerasOperation) -> list[tuple]:
        """Return none: the inside of an operation is out of reach."""
        return []

    def set_quantize_activations(self, layer: KerasOperation, quantize_activations: list) -> None:
        """Do nothing; there are none."""
        return  # AutoGraph cannot read a function with only a docstring.

    def get_output_quantizers(self, layer: KerasOperation) -> list:
        """Return the quantizer of the only output."""
        if not self.output:
            return []
        return [MovingAverageQuantizer(8, per_axis=False, symmetric=False, narrow_range=False)]

    def get_config(self) -> dict:
        """Return the config."""
        return {"output": self.output}


def annotate(layer: tf_keras.layers.Layer, scheme: Scheme) -> tf_keras.layers.Layer:
    """Mark a layer of a twin for ``quantize_apply`` according to its scheme.

    Args:
        layer: a layer of the twin; a 1-D convolution is returned in its 2-D form, without its
            weights.
        scheme: the scheme of the original layer.
    """
    mark = tfmot.quantization.keras.quantize_annotate_layer
    if isinstance(layer, tf_keras.layers.InputLayer):
        return layer
    if scheme.kind not in (NATIVE, GENERIC):
        # Marked nevertheless: tfmot quantizes the output of unmarked layers.
        return mark(layer, default_8bit_quantize_configs.NoOpQuantizeConfig())
    if isinstance(layer, KerasOperation):
        # A native scheme ends here if tf_keras's layer does not take the arguments.
        return mark(layer, OperationConfig(scheme.output))
    # TFLite fuses a bounded ReLU into the layer before; the ReLU quantizes for both.
    activations = ["activation"] if scheme.output and not _only_feeds_relu(layer) else []
    if isinstance(layer, tf_keras.layers.Conv1D | tf_keras.layers.DepthwiseConv1D):
        layer = as_2d(layer)
    if type(layer) in CONVOLUTION_KERNELS:
        config = default_8bit_quantize_registry.Default8BitConvQuantizeConfig
        return mark(layer, config([CONVOLUTION_KERNELS[type(layer)]], activations, False))
    if type(layer) is tf_keras.layers.Dense:
        config = default_8bit_quantize_registry.Default8BitQuantizeConfig
        return mark(layer, config(["kernel"], activations, False))
    if not scheme.output:
        return mark(layer, default_8bit_quantize_configs.NoOpQuantizeConfig())
    if type(layer) is tf_keras.layers.Concatenate:
        return mark(layer, default_8bit_quantize_configs.Default8BitOutputQuantizeConfig())
    return mark(layer) if _registry.supports(layer) else layer


def _only_feeds_relu(layer: tf_keras.layers.Layer) -> bool:
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    linear = getattr(layer, "activation", None) is tf_keras.activations.linear
    return linear and len(readers) == 1 and isinstance(readers[0], tf_keras.layers.ReLU)


# The classes that tfmot restores from configs while it rebuilds a model.
CUSTOM_OBJECTS = {
    made.__name__: made
    for made in (KerasOperation, Conv1DAs2D, DepthwiseConv1DAs2D, OperationConfig)
}
