"""Operators that force one scale on all of their inputs and outputs, and the consequences.

An operator that only passes values on (concatenation, selection, maximum, pooling) does not
compute with scales: its integers are copied or compared unchanged. The converter uses the scale of
one of its tensors for all, and clips the others to it if that is an input's. So if several tensors
are joined, only the result gets a range from training.

The result of each step of a recurrent layer is carried on as well as collected. If its collection
tied it to the range of another tensor, a step would have two scales, and the converter would leave
its arithmetic in float. In this case a multiplication by one is inserted: an operator that
computes, and may have a different scale on each side. The same goes for a layer with several
outputs.
"""

from typing import Any

import keras
from keras import layers, tree

from leankeras.copying import copy_model
from leankeras.graph import (
    flat_layers,
    is_composite,
    is_of_keras,
    mask_of,
    new_inputs,
    nodes_in_order,
    producer,
    walk,
)

# Their outputs have the range of their input, so there is nothing to quantize.
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
# Their outputs lie within the range of their input; training gives them a range of their own,
# unless they are joined with others.
NARROWING_LAYERS = (
    layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D, layers.Identity,
    layers.UpSampling2D, layers.UpSampling3D, layers.ZeroPadding3D, layers.Cropping3D,
)  # fmt: skip
NARROWING_OPERATIONS = {
    "AveragePool", "BroadcastTo", "Clip", "Copy", "Flip", "MaxPool", "Pad", "Repeat", "Roll",
    "Take", "Tile",
}  # fmt: skip
JOINING_LAYERS = (layers.Concatenate, layers.Maximum, layers.Minimum)
JOINING_OPERATIONS = {
    "Append", "Concatenate", "Hstack", "Maximum", "Minimum", "Stack", "Vstack", "Where",
}  # fmt: skip
# They compute new numbers, which have a scale of their own, as do Keras's layers with weights. For
# anything not listed here, including a user's layers, this is not certain.
COMPUTING_LAYERS = (
    layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Dot, layers.Attention,
    layers.AdditiveAttention, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU,
    layers.Softmax, layers.Rescaling, layers.Normalization, layers.UnitNormalization,
    layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D,
)  # fmt: skip
COMPUTING_OPERATIONS = {
    "Add", "Divide", "Dot", "Einsum", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSilu", "LeakyRelu",
    "Matmul", "Mean", "Multiply", "Power", "Relu", "Relu6", "Rsqrt", "Sigmoid", "Silu", "Softmax",
    "Softplus", "Sqrt", "Square", "Subtract", "Sum", "Tanh", "Tensordot", "TrueDivide", "Var",
}  # fmt: skip
# Almost one: the converter would remove a multiplication by exactly 1.0.
NEARLY_ONE = 1 + 2**-20


def is_passing(operation: keras.Operation) -> bool:
    """Whether an operation only moves or selects values, so that its range is its input's."""
    return _is_one_of(operation, PASSING_LAYERS, PASSING_OPERATIONS)


def is_joining(operation: keras.Operation) -> bool:
    """Whether an operation combines the values of several tensors into one."""
    return _is_one_of(operation, JOINING_LAYERS, JOINING_OPERATIONS)


def tied(folded: keras.Model) -> set[str]:
    """Names of the operations whose output must not get a range from training.

    Args:
        folded: a Functional model without nested ones.
    """
    names = set()
    for node in nodes_in_order(folded):
        if _gives_steps(node):
            names.add(node.operation.name)
        if is_joining(node.operation) and len(node.input_tensors) > 1:
            before = [producer(tensor) for tensor in node.input_tensors]
            while before:
                found = before.pop()
                names.add(found.operation.name)
                if is_passing(found.operation) or _is_narrowing(found.operation):
                    before += [producer(tensor) for tensor in found.input_tensors]
    return names


def untie(folded: keras.Model) -> keras.Model:
    """Insert a multiplication between tensors still used in a layer and operators that tie them.

    Args:
        folded: a Functional model without nested ones; its layers are called again.

    Returns:
        The model itself if there are no such tensors, else a new one with the same weights.
    """
    untied: dict[int, keras.KerasTensor] = {}

    def scaled(argument: Any) -> Any:
        if not isinstance(argument, keras.KerasTensor) or not _is_used_inside(_source(argument)):
            return argument
        if id(argument) not in untied:
            name = f"{_source(argument).operation.name}_untied_{len(untied)}"
            untied[id(argument)] = layers.Rescaling(NEARLY_ONE, name=name)(argument)
        return untied[id(argument)]

    def call(operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
        if not (_computes(operation) or is_passing(operation)):
            args, kwargs = tree.map_structure(scaled, (args, kwargs))
        return operation(*args, **kwargs)

    inputs = new_inputs(folded)
    outputs = walk(folded, inputs, call)
    return copy_model(keras.Model(inputs, outputs, name=folded.name)) if untied else folded


def _source(tensor: keras.KerasTensor) -> Any:
    """The node that computes a tensor's values, ignoring nodes that only pass them on."""
    node = producer(tensor)
    while is_passing(node.operation) and not node.is_input:
        node = producer(node.input_tensors[0])
    return node


def _is_used_inside(node: Any) -> bool:
    """Whether a node may go on computing with its outputs, so that they have a scale."""
    return _gives_steps(node) or len(node.outputs) > 1


def _gives_steps(node: Any) -> bool:
    """Whether a node returns the steps of a recurrent layer, or one of them chosen by a mask."""
    operation = node.operation
    if hasattr(operation, "return_sequences"):
        masked = any(mask_of(given) is not None for given in node.input_tensors)
        return operation.return_sequences or masked or node.arguments.kwargs.get("mask") is not None
    return is_composite(operation) and any(
        isinstance(inner, layers.RNN) for inner in flat_layers(operation)
    )


def _computes(operation: keras.Operation) -> bool:
    if isinstance(operation, layers.Layer) and is_of_keras(operation) and operation.weights:
        return True
    return _is_one_of(operation, COMPUTING_LAYERS, COMPUTING_OPERATIONS)


def _is_narrowing(operation: keras.Operation) -> bool:
    return _is_one_of(operation, NARROWING_LAYERS, NARROWING_OPERATIONS)


def _is_one_of(operation: keras.Operation, kinds: tuple[type, ...], names: set[str]) -> bool:
    if isinstance(operation, layers.Layer):
        return isinstance(operation, kinds) and is_of_keras(operation)
    return type(operation).__name__ in names
