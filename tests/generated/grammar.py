"""Random Functional models from a grammar of layers.

A model is grown layer by layer from what the current shape allows: images, sequences, token ids
and vectors, with branches that rejoin, odd sizes and strides, several inputs and outputs. All
choices come from one function ``choose(options)``, so both hypothesis (which can also shrink them)
and a seeded generator can make them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

Choose = Callable[[Sequence[Any]], Any]
Tensor = Any

WIDTHS = (1, 2, 3, 5, 8)
ACTIVATIONS = (
    None,
    "relu",
    "relu6",
    "elu",
    "silu",
    "gelu",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "softmax",
)
VOCABULARY = 12


def grow(choose: Choose, steps: int = 4) -> keras.Model:
    """A built model of random layers, with random weights.

    Args:
        choose: picks one of some options; the first is the simplest.
        steps: layers, or branches, on the way from the inputs to the head.
    """
    inputs = [_input(choose)]
    tensor = _enter(choose, inputs[0])
    for _ in range(choose(range(1, steps + 1))):
        tensor = choose(GROWTH[len(tensor.shape)])(choose, tensor)
    tensor = _flat(choose, tensor)
    if choose((False, False, True)):
        inputs.append(keras.Input((choose(WIDTHS),), name="side"))
        tensor = layers.Concatenate()([tensor, layers.Dense(3, activation="relu")(inputs[1])])
    return keras.Model(_taken(choose, inputs), _heads(choose, tensor))


def _input(choose: Choose) -> Tensor:
    kind = choose(("vector", "sequence", "picture", "tokens", "bytes"))
    if kind == "vector":
        return keras.Input((choose((1, 3, 7, 16)),), name="main")
    if kind == "sequence":
        return keras.Input((choose((4, 7, 12)), choose((1, 2, 3))), name="main")
    if kind == "tokens":
        return keras.Input((choose((4, 7)),), dtype="int32", name="main")
    sizes = (choose((5, 8, 11)), choose((5, 8, 9)), choose((1, 3)))
    return keras.Input(sizes, dtype="uint8" if kind == "bytes" else "float32", name="main")


def _enter(choose: Choose, tensor: Tensor) -> Tensor:
    """The first layer, where the input needs one."""
    if tensor.dtype == "int32":
        return layers.Embedding(VOCABULARY, choose((2, 3, 5)), mask_zero=choose((False, True)))(
            tensor
        )
    if tensor.dtype == "uint8":
        return layers.Rescaling(1 / 255)(tensor)
    first = choose(("none", "none", "normalization", "noise"))
    if first == "normalization":
        channels = tensor.shape[-1]
        return layers.Normalization(mean=[0.5] * channels, variance=[2.0] * channels)(tensor)
    return layers.GaussianNoise(0.1)(tensor) if first == "noise" else tensor


# Images, (rows, columns, channels)


def _convolution(choose: Choose, x: Tensor) -> Tensor:
    window = choose((1, 2, 3))
    strides = choose((1, 1, 2))
    return layers.Conv2D(
        choose(WIDTHS),
        window,
        strides=strides,
        padding="same" if window > min(x.shape[1:3]) else choose(("same", "valid")),
        dilation_rate=choose((1, 1, 2)) if strides == 1 and min(x.shape[1:3]) > 4 else 1,
        use_bias=choose((True, False)),
        activation=choose(ACTIVATIONS),
    )(x)


def _other_convolution(choose: Choose, x: Tensor) -> Tensor:
    kind = choose(("depthwise", "separable", "transpose", "grouped"))
    if kind == "depthwise":
        return layers.DepthwiseConv2D(
            3, padding="same", depth_multiplier=choose((1, 2)), activation=choose(ACTIVATIONS)
        )(x)
    if kind == "separable":
        return layers.SeparableConv2D(choose(WIDTHS), 3, padding="same")(x)
    if kind == "transpose":
        return layers.Conv2DTranspose(choose(WIDTHS), 2, strides=choose((1, 2)), padding="same")(x)
    channels = x.shape[-1]
    return layers.Conv2D(2 * channels, 3, groups=channels, padding="same")(x)


def _picture_shape(choose: Choose, x: Tensor) -> Tensor:
    rows, columns = x.shape[1:3]
    kinds = ("pad", "upsample", "permute", "resize", "flip", "max", "average", "crop")
    kind = choose(kinds if min(rows, columns) > 2 else kinds[:5])
    make = {
        "max": lambda: layers.MaxPooling2D(2, padding=choose(("valid", "same"))),
        "average": lambda: layers.AveragePooling2D(2, strides=choose((1, 2))),
        "pad": lambda: layers.ZeroPadding2D(((0, 1), (1, 0))),
        "crop": lambda: layers.Cropping2D(((0, 1), (1, 0))),
        "upsample": lambda: layers.UpSampling2D(2, interpolation=choose(("nearest", "bilinear"))),
        "permute": lambda: layers.Permute((2, 1, 3)),
        "resize": lambda: layers.Resizing(6, 6),
        "flip": lambda: layers.RandomFlip("horizontal"),
    }[kind]
    return make()(x)


def _gate(choose: Choose, x: Tensor) -> Tensor:
    """Squeeze and excite."""
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    scale = layers.Conv2D(x.shape[-1], 1, activation=choose(("sigmoid", "hard_sigmoid")))(squeezed)
    return layers.Multiply()([x, scale])


def _picture_branch(choose: Choose, x: Tensor) -> Tensor:
    width = x.shape[-1] if (merge := choose(MERGES)) is not layers.Concatenate else choose(WIDTHS)
    branch = layers.Conv2D(width, choose((1, 3)), padding="same", activation=choose(ACTIVATIONS))(x)
    return merge()([_normalized(choose, branch), x])


# Sequences, (steps, channels)


def _convolution_1d(choose: Choose, x: Tensor) -> Tensor:
    window = choose((1, 2, 3))
    padding = choose(("same", "causal", "valid")) if window <= x.shape[1] else "same"
    kind = choose(("plain", "plain", "separable", "depthwise"))
    if kind == "depthwise":
        return layers.DepthwiseConv1D(window, padding="same")(x)
    if kind == "separable":
        return layers.SeparableConv1D(choose(WIDTHS), window, padding="same")(x)
    return layers.Conv1D(
        choose(WIDTHS),
        window,
        strides=choose((1, 1, 2)),
        padding=padding,
        activation=choose(ACTIVATIONS),
    )(x)


def _recurrence(choose: Choose, x: Tensor) -> Tensor:
    kind = choose((layers.LSTM, layers.GRU, layers.SimpleRNN))
    dropout = choose((0.0, 0.0, 0.2))
    layer = kind(choose((2, 3, 5)), return_sequences=choose((True, False)), dropout=dropout)
    return (layers.Bidirectional(layer) if choose((False, False, True)) else layer)(x)


def _attention(choose: Choose, x: Tensor) -> Tensor:
    attention = layers.MultiHeadAttention(choose((1, 2)), choose((2, 3)))
    return layers.Add()([x, attention(x, x, use_causal_mask=choose((False, True)))])


def _sequence_shape(choose: Choose, x: Tensor) -> Tensor:
    kind = choose(("max", "average", "pad", "upsample", "dense", "permute"))
    make = {
        "max": lambda: layers.MaxPooling1D(2, padding="same"),
        "average": lambda: layers.AveragePooling1D(2, padding="same"),
        "pad": lambda: layers.ZeroPadding1D((1, 2)),
        "upsample": lambda: layers.UpSampling1D(2),
        "dense": lambda: layers.TimeDistributed(layers.Dense(choose(WIDTHS))),
        "permute": lambda: layers.Permute((2, 1)),
    }[kind]
    return make()(x)


def _sequence_branch(choose: Choose, x: Tensor) -> Tensor:
    width = x.shape[-1] if (merge := choose(MERGES)) is not layers.Concatenate else choose(WIDTHS)
    branch = layers.Conv1D(width, choose((1, 3)), padding="same", activation=choose(ACTIVATIONS))(x)
    return merge()([_normalized(choose, branch), x])


# Vectors


def _dense(choose: Choose, x: Tensor) -> Tensor:
    return layers.Dense(
        choose(WIDTHS), activation=choose(ACTIVATIONS), use_bias=choose((True, False))
    )(x)


def _vector_branch(choose: Choose, x: Tensor) -> Tensor:
    branch = layers.Dense(x.shape[-1], activation=choose(ACTIVATIONS))(x)
    return choose(MERGES)()([branch, x])


def _repeated(choose: Choose, x: Tensor) -> Tensor:
    return layers.RepeatVector(choose((3, 5)))(x)


# Any of them


def _normalized(choose: Choose, x: Tensor) -> Tensor:
    kind = choose(("batch", "layer", "unit", "none", "group"))
    make = {
        "batch": lambda: layers.BatchNormalization(),
        "layer": lambda: layers.LayerNormalization(),
        "unit": lambda: layers.UnitNormalization(),
        "none": lambda: layers.Identity(),
        "group": lambda: layers.GroupNormalization(groups=-1),
    }[kind]
    return make()(x)


def _activated(choose: Choose, x: Tensor) -> Tensor:
    make = choose((layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Dropout))
    if make is layers.Dropout:
        return layers.Dropout(0.2)(x)
    return make()(x)


def _operation(choose: Choose, x: Tensor) -> Tensor:
    """``keras.ops`` and arithmetic, as people write them between layers."""
    kind = choose(("scale", "absolute", "square", "clip", "centre", "exp", "root", "maximum"))
    return {
        "scale": lambda: x * 2.0 + 0.5,
        "absolute": lambda: ops.abs(x),
        "square": lambda: ops.square(x),
        "clip": lambda: ops.clip(x, -1.0, 2.0),
        "centre": lambda: x - ops.mean(x, axis=-1, keepdims=True),
        "exp": lambda: ops.exp(-ops.abs(x)),
        "root": lambda: ops.sqrt(ops.abs(x) + 1.0),
        "maximum": lambda: ops.maximum(x, 0.1),
    }[kind]()


def _flat(choose: Choose, x: Tensor) -> Tensor:
    """A vector for each sample."""
    if len(x.shape) == 2:
        return x
    if len(x.shape) == 4:
        pools = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
    else:
        pools = (layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D)
    kind = choose(("average", "flatten", "max", "both"))
    if kind == "flatten":
        return layers.Flatten()(x)
    if kind == "both":
        return layers.Concatenate()([pool()(x) for pool in pools])
    return pools[kind == "max"]()(x)


def _taken(choose: Choose, inputs: list[Tensor]) -> Any:
    if len(inputs) == 1:
        return inputs[0]
    return choose((list, lambda some: {tensor.name: tensor for tensor in some}))(inputs)


def _heads(choose: Choose, x: Tensor) -> Any:
    kind = choose(("probabilities", "logits", "several"))
    if kind == "probabilities":
        return layers.Dense(3, activation="softmax", name="classes")(x)
    logits = layers.Dense(3, name="classes")(x)
    if kind == "logits":
        return logits
    return {"classes": logits, "value": layers.Dense(1, activation="tanh", name="value")(x)}


MERGES = (layers.Add, layers.Concatenate, layers.Multiply, layers.Maximum, layers.Average)
ANY = (_normalized, _activated, _operation)
GROWTH = {
    4: (
        _convolution,
        _convolution,
        _other_convolution,
        _picture_shape,
        _picture_branch,
        _gate,
        *ANY,
    ),
    3: (_convolution_1d, _recurrence, _attention, _sequence_shape, _sequence_branch, *ANY),
    2: (_dense, _vector_branch, _repeated, *ANY),
}
