"""BatchNormalization and ReLU folded into the linear layer before them.

At inference a BatchNormalization is a scale and a shift for each channel, which the weights of a
convolution can absorb (Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", section 3.2). Quantization-aware training of the
folded model has no statistics left to converge, and quantizes the weights that are deployed.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from leankeras.copying import HALF_PRECISION_TOLERANCE, copy_model, is_float32
from leankeras.errors import ModelError
from leankeras.graph import (
    as_graph,
    flat_layers,
    infer,
    new_inputs,
    nodes_in_order,
    packed_inputs,
    sample_inputs,
    walk,
)

CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = {
    layers.SeparableConv1D: (layers.DepthwiseConv1D, layers.Conv1D),
    layers.SeparableConv2D: (layers.DepthwiseConv2D, layers.Conv2D),
}
LINEAR = (*CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE, *SEPARABLE, layers.Dense)

# Folding changes the order of float32 operations; a mistake would differ by far more than this.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Absorbed:
    """The layers after a linear layer that are folded into it."""

    normalization: layers.BatchNormalization | None
    relu: bool


def fold(model: keras.Model, like: Any = None) -> keras.Model:
    """Fold the layers that follow a linear layer into it, and flatten nested models.

    A BatchNormalization, and then a ReLU, directly after a convolution (also transposed,
    depthwise or separable) or a Dense layer without an activation are folded into it if nothing
    else reads the tensors between them. A separable convolution becomes its two parts. Anything
    that cannot be folded stays as it is; a subclassed model stays one layer.

    Args:
        model: a built Keras 3 model; it is not changed.
        like: some samples, or the shape of one, needed for a subclassed model that was never
            called.

    Returns:
        A plain Functional Keras 3 model in float32, equal to ``model`` at inference up to
        rounding. All of its layers are trainable.

    Raises:
        ModelError: the model is not built, or its folded form computes something else.
        TwinError: a layer cannot be copied.

    Example:
        >>> [layer.name for layer in fold(model).layers]
        ['input_layer', 'conv1d', 'global_average_pooling1d', 'dense']
    """
    flat = _flatten(as_graph(copy_model(model, like), like))
    plan, absorbed = _plan(flat)
    folded_layers: dict[int, list[layers.Layer]] = {}

    def call(operation: keras.Operation, args: tuple, kwargs: dict) -> object:
        if id(operation) in absorbed:
            return args[0]
        if id(operation) in plan and id(operation) not in folded_layers:
            folded_layers[id(operation)] = _fold_layer(operation, plan[id(operation)], args[0])
        if id(operation) in folded_layers:
            outputs = args[0]
            for layer in folded_layers[id(operation)]:
                outputs = layer(outputs)
            return outputs
        return operation(*args, **kwargs)

    inputs = new_inputs(flat)
    outputs = walk(flat, inputs, call)
    # Copied once more, so that no layer keeps references to earlier graphs.
    folded = copy_model(keras.Model(inputs, outputs, name=model.name))
    for layer in flat_layers(folded):
        layer.trainable = True
    _check(model, flat, folded)
    return folded


def _flatten(graph: keras.Model) -> keras.Model:
    """Flatten nested models; layers with the same name get a number."""
    inputs = new_inputs(graph)
    names = {tensor.name: 0 for tensor in tree.flatten(inputs)}

    def call(operation: keras.Operation, args: tuple, kwargs: dict) -> object:
        stem, number = operation.name, 1
        while names.setdefault(operation.name, id(operation)) != id(operation):
            operation.name, number = f"{stem}_{number}", number + 1
        return operation(*args, **kwargs)

    return keras.Model(inputs, walk(graph, inputs, call), name=graph.name)


def _plan(flat: keras.Model) -> tuple[dict[int, _Absorbed], set[int]]:
    """Decide what each linear layer absorbs, and list the operations that disappear."""
    calls: dict[int, list[Any]] = {}
    readers: dict[int, list[Any]] = {}
    nodes = nodes_in_order(flat)
    for node in nodes:
        calls.setdefault(id(node.operation), []).append(node)
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node)
    outputs = {id(tensor) for tensor in flat.outputs}

    def follower(operation: keras.Operation) -> keras.Operation | None:
        """Return the only reader of the operation's results, if it reads nothing else."""
        results = [id(tensor) for node in calls[id(operation)] for tensor in node.outputs]
        found = [node for result in results for node in readers.get(result, [])]
        if not found or len({id(node.operation) for node in found}) > 1:
            return None
        one_to_one = len(found) == len(results) == len(calls[id(found[0].operation)])
        return found[0].operation if one_to_one and not outputs & set(results) else None

    plan, absorbed = {}, set()
    for layer in {id(node.operation): node.operation for node in nodes}.values():
        if type(layer) not in LINEAR:
            continue
        normalization, relu = None, False
        if layer.activation is keras.activations.linear:
            following = follower(layer)
            if _normalizes_channels(following, layer, calls):
                normalization = following
                absorbed.add(id(normalization))
                following = follower(normalization)
            if _is_relu(following):
                relu = True
                absorbed.add(id(following))
        if normalization or relu or type(layer) in SEPARABLE:
            plan[id(layer)] = _Absorbed(normalization, relu)
    return plan, absorbed


def _normalizes_channels(
    layer: keras.Operation | None, linear: layers.Layer, calls: dict[int, list[Any]]
) -> bool:
    if type(layer) is not layers.BatchNormalization:
        return False
    node = calls[id(layer)][0]
    channels_last = getattr(linear, "data_format", "channels_last") == "channels_last"
    return channels_last and layer.axis in (-1, len(node.input_tensors[0].shape) - 1)


def _is_relu(operation: keras.Operation | None) -> bool:
    if isinstance(operation, layers.ReLU):
        return (operation.max_value, operation.negative_slope, operation.threshold) == (None, 0, 0)
    if isinstance(operation, layers.Activation):
        return operation.activation is keras.activations.relu
    return type(operation).__module__ == "keras.src.ops.nn" and type(operation).__name__ == "Relu"


def _fold_layer(
    layer: layers.Layer, absorbed: _Absorbed, inputs: keras.KerasTensor
) -> list[layers.Layer]:
    """Make the layers, in order, that replace ``layer`` and what it absorbed."""
    activation = "relu" if absorbed.relu else keras.activations.serialize(layer.activation)
    weights = [weight.numpy().astype("float64") for weight in layer.weights]
    before = []
    if type(layer) in SEPARABLE:
        depthwise, layer = _split(layer)
        depthwise.build(inputs.shape)
        depthwise.set_weights(weights[:1])
        before, weights = [depthwise], weights[1:]
        inputs = depthwise(inputs)
    kernel = weights[0]
    bias = weights[1] if layer.use_bias else np.zeros(1)
    if absorbed.normalization is not None:
        scale, shift = _scale_and_shift(absorbed.normalization)
        bias = bias * scale + shift
        kernel = kernel * _along_outputs(layer, kernel, scale)
    with_bias = layer.use_bias or absorbed.normalization is not None
    config = {**layer.get_config(), "use_bias": with_bias, "activation": activation}
    folded = type(layer).from_config(config)
    folded.build(inputs.shape)
    folded.set_weights([kernel, bias] if with_bias else [kernel])
    return [*before, folded]


def _split(layer: layers.Layer) -> tuple[layers.Layer, layers.Layer]:
    """Make the depthwise and the pointwise layer of a separable convolution."""
    depthwise_type, pointwise_type = SEPARABLE[type(layer)]
    config = layer.get_config()
    shared = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "dtype")
    depthwise = depthwise_type(
        **{argument: config[argument] for argument in shared},
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
        name=f"{layer.name}_depthwise",
    )
    pointwise = pointwise_type(
        layer.filters,
        1,
        data_format=layer.data_format,
        use_bias=layer.use_bias,
        dtype=config["dtype"],
        name=layer.name,
    )
    return depthwise, pointwise


def _scale_and_shift(normalization: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Express a BatchNormalization at inference as ``x * scale + shift``."""
    mean = normalization.moving_mean.numpy().astype("float64")
    variance = normalization.moving_variance.numpy().astype("float64")
    scale = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        scale = scale * normalization.gamma.numpy()
    shift = -mean * scale
    if normalization.center:
        shift = shift + normalization.beta.numpy()
    return scale, shift


def _along_outputs(layer: layers.Layer, kernel: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Shape a scale of the output channels so that it can multiply the layer's kernel."""
    if isinstance(layer, DEPTHWISE):
        return scale.reshape(kernel.shape[-2:])
    return scale[:, np.newaxis] if isinstance(layer, TRANSPOSED) else scale


def _check(model: keras.Model, flat: keras.Model, folded: keras.Model) -> None:
    inputs = packed_inputs(flat, sample_inputs(flat))
    references = [(model, TOLERANCE)]
    if not is_float32(model):  # compare loosely with the model, closely with its float32 copy
        references = [(model, HALF_PRECISION_TOLERANCE), (flat, TOLERANCE)]
    outputs = tree.flatten(infer(folded, inputs))
    for reference, tolerance in references:
        for want, got in zip(tree.flatten(infer(reference, inputs)), outputs, strict=True):
            want, got = (np.asarray(values, dtype="float64") for values in (want, got))
            difference = np.abs(want - got).max()
            if not difference <= tolerance * max(1.0, np.abs(want).max()):
                raise ModelError(
                    f"{model.name} computes something else when BatchNormalization is folded "
                    f"(difference {difference:.2g}); one of its layers gives random or non-finite "
                    "results, or depends on state outside its weights and config"
                )
