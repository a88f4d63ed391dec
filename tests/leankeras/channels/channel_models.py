"""Models with every kind of layer a channel can pass through."""

import keras
import numpy as np
from keras import layers, ops


class Halve(layers.Layer):
    """A user's layer, which nothing is known about."""

    def call(self, inputs):
        return inputs * 0.5


class Gate(layers.Layer):
    """A user's layer that treats every channel by itself, and says so."""

    def __init__(self, axes=(1, None), **kwargs):
        super().__init__(**kwargs)
        self.axes = tuple(axes)

    def build(self, input_shape):
        self.slope = self.add_weight(shape=(1, input_shape[-1]), initializer="ones", name="slope")
        self.shift = self.add_weight(shape=(), name="shift")

    def call(self, inputs):
        return inputs * ops.sigmoid(inputs * self.slope + self.shift)

    def channel_axes(self):
        return self.axes

    def get_config(self):
        return {**super().get_config(), "axes": self.axes}


def perturbed(model, seed=0):
    """Weights unlike those of a fresh model, whose biases and BatchNorm statistics hide errors."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        values = np.asarray(weight)
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, values.shape))
        elif np.issubdtype(values.dtype, np.floating):
            weight.assign(values + generator.normal(0, 0.1, values.shape))
    return model


def plain():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(2)(layers.Conv2D(8, 3, activation="sigmoid")(x))
    x = layers.Dense(10, activation="gelu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Dropout(0.1)(x)))


def residual():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    y = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same")(x))
    y = layers.Conv2D(8, 3, padding="same")(layers.LeakyReLU()(y))
    x = layers.Add()([x, y])
    x = layers.Concatenate()([x, layers.Conv2D(4, 1)(x)])
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def grouped():
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(12, 3, groups=2)(inputs)
    x = layers.Conv2D(8, 3, groups=4)(layers.PReLU(shared_axes=[1, 2])(x))
    x = layers.Conv2D(16, 1, groups=8)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalMaxPooling2D()(x)))


def depthwise():
    inputs = keras.Input((8, 8, 4))
    x = layers.DepthwiseConv2D(3)(inputs)
    x = layers.Conv2D(6, 1)(layers.PReLU()(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=3, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def encoder_decoder():
    inputs = keras.Input((8, 8, 3))
    wide = layers.Conv2D(6, 3, padding="same")(inputs)
    deep = layers.AveragePooling2D(2)(layers.Conv2D(8, 3, padding="same")(wide))
    up = layers.Conv2DTranspose(6, 3, strides=2, padding="same")(deep)
    also = layers.UpSampling2D()(layers.ZeroPadding2D(1)(layers.Cropping2D(1)(deep)))
    x = layers.Concatenate()([wide, up, also, inputs])
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


def squeeze_and_excite():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3)(inputs)
    squeezed = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    squeezed = layers.Conv2D(8, 1, activation="hard_sigmoid")(
        layers.Conv2D(4, 1, activation="silu")(squeezed)
    )
    x = layers.Multiply()([x, squeezed])
    spatial = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    x = layers.Multiply()([x, spatial])
    return keras.Model(inputs, layers.Dense(4)(layers.Reshape((-1,))(x)))


def operations():
    inputs = keras.Input((8, 8, 3))
    x = ops.relu(layers.Conv2D(8, 3)(inputs)) * 2.0 + 1.0
    gate = ops.expand_dims(ops.expand_dims(ops.mean(x, axis=[1, 2]), 1), 1)
    x = ops.multiply(x, layers.Dense(8, activation="sigmoid")(gate)) / 3.0
    x = ops.reshape(x, (-1, 36, 8))
    x = ops.transpose(ops.transpose(x, (0, 2, 1)), (0, 2, 1))
    x = ops.concatenate([x, layers.Dense(6)(x)], axis=-1)
    x = ops.squeeze(ops.max(x, axis=1, keepdims=True), 1)
    return keras.Model(inputs, layers.Dense(4)(x))


def normalized():
    inputs = keras.Input((16, 6))
    x = layers.Conv1D(8, 3)(inputs)
    y = layers.Dense(12, activation="gelu")(layers.LayerNormalization()(x))
    x = x + layers.Dense(8)(y)
    x = layers.LayerNormalization(center=False, epsilon=0.1)(x)
    x = layers.SeparableConv1D(6, 3)(layers.DepthwiseConv1D(3)(x))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


def sequential():
    return keras.Sequential(
        [
            keras.Input((12, 5)),
            layers.Conv1D(8, 3),
            layers.Permute((2, 1)),
            layers.Permute((2, 1)),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
            layers.RepeatVector(3),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


def nested():
    features = keras.Input((6, 6, 8))
    x = layers.Conv2D(8, 3, padding="same", name="inner")(features)
    block = keras.Model(features, layers.Add()([features, x]), name="block")
    inputs = keras.Input((6, 6, 3))
    x = block(block(layers.Conv2D(8, 1)(inputs)))
    head = keras.Sequential([keras.Input((8,)), layers.Dense(6), layers.Dense(4)], name="head")
    return keras.Model(inputs, head(layers.GlobalAveragePooling2D()(x)))


def shared_and_dict():
    left, right = keras.Input((6, 6, 2), name="left"), keras.Input((6, 6, 2), name="right")
    shared = layers.Conv2D(8, 3, name="shared")
    x = layers.Subtract()([shared(left), shared(right)])
    outputs = {
        "score": layers.Dense(3, name="score")(layers.Flatten()(x)),
        "map": layers.Conv2D(1, 1, name="map")(x),
    }
    return keras.Model({"left": left, "right": right}, outputs)


def partly_frozen():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    y = Halve(name="halve")(layers.Conv2D(8, 1, name="before_halve")(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(y)))


def self_explaining():
    inputs = keras.Input((6, 6, 3))
    x = Gate(name="gate")(layers.Conv2D(8, 3, name="before_gate")(inputs))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


EVERY_KIND = [
    self_explaining,
    plain,
    residual,
    grouped,
    depthwise,
    encoder_decoder,
    squeeze_and_excite,
    operations,
    normalized,
    sequential,
    nested,
    shared_and_dict,
    partly_frozen,
]


def inputs_for(model, seed=1):
    generator = np.random.default_rng(seed)
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(
        lambda tensor: generator.normal(size=(3, *tensor.shape[1:])).astype("float32"), structure
    )


def outputs_of(model, inputs):
    return [np.asarray(x) for x in keras.tree.flatten(model(inputs, training=False))]


def assert_same_outputs(one, other, inputs):
    for left, right in zip(outputs_of(one, inputs), outputs_of(other, inputs), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
