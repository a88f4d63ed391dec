"""How each layer of a model is fake-quantized: tfmot's own scheme, a generic one, or not at all.

tensorflow-model-optimization (tfmot) has schemes for a part of Keras. The generic scheme quantizes
the weights (of rank 2 and more, symmetric, one scale a tensor) and the output of a layer; ranges
of what lies inside the layer are calibrated when the model is converted.
"""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from keras import layers
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_registry,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import (
    LastValueQuantizer,
    MovingAverageQuantizer,
)

from leankeras.graph import producers
from leankeras.twin import KerasOperation, native_layer

NATIVE, GENERIC = "native", "generic"
PASSING, FLOAT = "nothing to quantize", "left in float"

# tfmot's: activations it can place fake quantization around.
ACTIVATIONS = {"linear", "relu", "softmax", "sigmoid", "tanh", "gelu", "silu"}
# Their output has the range of their input, so there is nothing to quantize.
PASSING_LAYERS = (
    layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.GaussianNoise,
    layers.GaussianDropout, layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D,
    layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.Reshape, layers.Flatten,
    layers.Permute, layers.RepeatVector, layers.Cropping1D, layers.Cropping2D,
    layers.ZeroPadding1D, layers.ZeroPadding2D, layers.UpSampling1D, layers.InputLayer,
)  # fmt: skip
PASSING_OPERATIONS = {
    "ExpandDims", "GetItem", "Max", "Moveaxis", "Reshape", "Split", "Squeeze", "Swapaxes",
    "Transpose",
}  # fmt: skip

ONE_DIMENSIONAL = (layers.Conv1D, layers.DepthwiseConv1D)

_registry = default_8bit_quantize_registry.Default8BitQuantizeRegistry()


@dataclass(frozen=True)
class Scheme:
    """What is done with a layer, and why.

    ``kind`` is ``"native"``, ``"generic"``, ``"nothing to quantize"`` or ``"left in float"``.
    """

    kind: str
    reason: str


def scheme_of(operation: keras.Operation, outputs: list[keras.KerasTensor]) -> Scheme:
    """Choose the scheme of a Keras 3 layer or operation.

    Args:
        operation: of a folded model.
        outputs: what it gives, over all of its calls.
    """
    name = type(operation).__name__
    if is_passing(operation):
        return Scheme(PASSING, "hands on the range of its input")
    if not all("float" in tensor.dtype for tensor in outputs):
        return Scheme(FLOAT, "gives integers or booleans")
    if is_native(operation):
        if type(operation) in ONE_DIMENSIONAL:
            return Scheme(NATIVE, "as a 2-D convolution, a scale for each channel")
        return Scheme(NATIVE, "a scheme of tensorflow-model-optimization")
    if len(outputs) > len(producers(operation)):
        return Scheme(FLOAT, "has several outputs; quantized at conversion only")
    kernels = [v for v in getattr(operation, "variables", []) if len(v.shape) >= 2]
    what = "weights and output" if kernels else "output"
    if gives_steps(operation):
        what = "weights"
    return Scheme(GENERIC, f"no scheme for {name}: {what}; the inside at conversion")


def is_passing(operation: keras.Operation) -> bool:
    """Whether an operation only moves or picks values, so that its range is its input's."""
    if isinstance(operation, layers.Layer):
        return isinstance(operation, PASSING_LAYERS)
    return type(operation).__name__ in PASSING_OPERATIONS


def is_native(layer: keras.Operation) -> bool:
    """Whether tfmot has a scheme that holds for this very layer."""
    if not isinstance(layer, layers.Layer):
        return False
    activation = getattr(layer, "activation", None)
    # a function of the user's own is serialized as a dict
    if activation is not None and str(keras.activations.serialize(activation)) not in ACTIVATIONS:
        return False
    if type(layer) in ONE_DIMENSIONAL:
        return layer.data_format == "channels_last" and native_layer(layer) is not None
    if isinstance(layer, PASSING_LAYERS):
        return True
    counterpart = native_layer(layer)
    return counterpart is not None and _registry.supports(counterpart)


def gives_steps(operation: keras.Operation) -> bool:
    """Whether an operation is recurrent and gives every step.

    Steps are both collected and carried on. A range fixed for the collection alone would make the
    converter leave the arithmetic of the step in float.
    """
    return getattr(operation, "return_sequences", False)


class _As2D:
    """Runs a 1-D convolution as a 2-D one of width 1, as TFLite does.

    tfmot quantizes kernels of rank 4 for each channel; for rank 3 that raises an error. Inside
    the layer the activation, and the fake quantization around it, come before the width is taken
    away again, so that the converter can fuse them.
    """

    def __init__(self, left_padding: int = 0, **kwargs: Any) -> None:
        self.left_padding = left_padding
        super().__init__(**kwargs)
        # Theirs asks for rank 4 before the width is there.
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
        # The depthwise operation takes equal strides only; a width of 1 does not notice.
        strides=(stride, stride) if is_depthwise else (stride, 1),
        dilation_rate=(dilation, dilation) if is_depthwise else (dilation, 1),
        padding="valid" if causal else config["padding"],
        left_padding=(size - 1) * dilation if causal else 0,
    )
    return (DepthwiseConv1DAs2D if is_depthwise else Conv1DAs2D)(**config)


class OperationConfig(tfmot.quantization.keras.QuantizeConfig):
    """The generic scheme, for a layer that runs a Keras 3 operation.

    Args:
        output: whether the output is quantized, or the weights only.
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
        """Return none: what lies inside an operation is out of reach."""
        return []

    def set_quantize_activations(self, layer: KerasOperation, quantize_activations: list) -> None:
        """Do nothing; there are none."""
        return  # AutoGraph cannot read a function of nothing but a docstring.

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
        layer: a layer of the twin; a 1-D convolution comes back in its 2-D form, without
            its weights.
        scheme: what ``scheme_of`` gave for the layer it stands for.
    """
    mark = tfmot.quantization.keras.quantize_annotate_layer
    if isinstance(layer, KerasOperation):
        # A native scheme ends here where tf_keras's layer does not take the arguments.
        quantized = scheme.kind in (NATIVE, GENERIC)
        return (
            mark(layer, OperationConfig(not gives_steps(layer.operation))) if quantized else layer
        )
    # TFLite fuses a ReLU with a bound into the layer before; the ReLU quantizes for both.
    activations = [] if _only_feeds_relu(layer) else ["activation"]
    if isinstance(layer, tf_keras.layers.Conv1D | tf_keras.layers.DepthwiseConv1D):
        layer = as_2d(layer)
    if type(layer) in CONVOLUTION_KERNELS:
        config = default_8bit_quantize_registry.Default8BitConvQuantizeConfig
        return mark(layer, config([CONVOLUTION_KERNELS[type(layer)]], activations, False))
    if type(layer) is tf_keras.layers.Dense:
        config = default_8bit_quantize_registry.Default8BitQuantizeConfig
        return mark(layer, config(["kernel"], activations, False))
    return mark(layer) if _registry.supports(layer) else layer


def _only_feeds_relu(layer: tf_keras.layers.Layer) -> bool:
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    linear = getattr(layer, "activation", None) is tf_keras.activations.linear
    return linear and len(readers) == 1 and isinstance(readers[0], tf_keras.layers.ReLU)


# What tfmot reads back from configs while it rebuilds a model.
CUSTOM_OBJECTS = {
    made.__name__: made
    for made in (KerasOperation, Conv1DAs2D, DepthwiseConv1DAs2D, OperationConfig)
}
