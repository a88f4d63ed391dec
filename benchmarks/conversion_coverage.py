"""Which kinds of model convert in which mode: one markdown table, every cell verified or refused.

    uv run python benchmarks/conversion_coverage.py [KIND ...]

Each cell is a conversion by ``kopt.convert``, which runs the file in LiteRT and compares it with
the model before it returns, or for ONNX by ``save_model``, which does so in ONNX Runtime. The
figure is the root mean square of the difference divided by that of the output; for ONNX, the
largest difference divided by the largest output. Warnings and refusals are listed below the
table. The last five kinds are those that at least one mode would get wrong if left alone.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import kopt
from leankeras.conversion import save_model
from leankeras.errors import KoptError

MODES = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8", "ONNX")
SAMPLES = 16
layers, ops = keras.layers, keras.ops
random = np.random.default_rng(0)


@keras.saving.register_keras_serializable("coverage")
class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.hidden, self.head = layers.Dense(16, activation="relu"), layers.Dense(3)

    def call(self, x, training=None):
        return self.head(ops.mean(self.hidden(x), axis=1))


class Noisy(layers.Layer):
    def call(self, x):
        return x + keras.random.normal(ops.shape(x))


class NormalizedOverAll(layers.Layer):
    """The converter mistakes it for a normalization along the last axis."""

    def call(self, x):
        return tf.math.l2_normalize(x)


class LoopOverFilters(layers.Layer):
    def build(self, shape):
        self.kernels = [
            self.add_weight(name=f"kernel_{k}", shape=(3, shape[-1], 1)) for k in range(8)
        ]

    def call(self, x):
        maps = [ops.conv(x, kernel, padding="same") for kernel in self.kernels]
        return ops.relu(ops.concatenate(maps, axis=-1))


def functional(function: Callable, shape=(16, 8), dtype="float32") -> keras.Model:
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, function(inputs))


def residual(x):
    skipped = x
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return layers.GlobalAveragePooling2D()(layers.Add()([x, layers.Conv2D(8, 1)(skipped)]))


def separable(x):
    x = layers.SeparableConv2D(8, 3, activation="swish")(x)
    return layers.Dense(3)(layers.Flatten()(layers.DepthwiseConv2D(3)(x)))


def transformer(x):
    x = layers.Dense(16)(x)
    attended = layers.MultiHeadAttention(2, 8)(x, x)
    x = layers.LayerNormalization()(x + attended)
    x = layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, activation="gelu")(x)))
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x))


def causal_attention(x):
    x = layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x))


def maximum_and_mean(x):
    x = layers.Conv2D(8, 3, activation="swish")(x)
    pooled = [layers.GlobalMaxPooling2D()(x), layers.GlobalAveragePooling2D()(x)]
    return layers.Concatenate()(pooled)


def around_100000(x):
    normalize = layers.Normalization(mean=[1e5] * 4, variance=[100.0] * 4, name="normalize")
    return layers.Dense(3)(normalize(x))


def boxes_and_scores(x):
    x = layers.Dense(16, activation="relu")(x)
    boxes = layers.Rescaling(650.0)(layers.Dense(4, activation="sigmoid")(x))
    return layers.Concatenate(name="joined")([boxes, layers.Dense(3, activation="sigmoid")(x)])


def squeeze_excite(x):
    x = layers.Conv2D(8, 3, activation="relu")(x)
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    return layers.GlobalMaxPooling2D()(layers.Multiply()([x, layers.Reshape((1, 1, 8))(gate)]))


def upsampling(x):
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(x)
    return layers.Conv2D(1, 3, activation="sigmoid")(layers.UpSampling2D()(x))


def temporal(x):
    for dilation in (1, 2, 4):
        x = layers.Conv1D(8, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(x))


def arithmetic(x):
    return ops.sum(ops.softmax(x) * ops.mean(x, axis=1, keepdims=True), axis=-1)


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((16, 8)), layers.Dense(8), layers.LSTM(8)], name="inner")
    return functional(lambda x: layers.Dense(3)(inner(x)))


def two_inputs() -> keras.Model:
    a, b = keras.Input((8,), name="a"), keras.Input((4,), name="b")
    hidden = layers.Dense(8, activation="relu")(layers.Concatenate()([a, b]))
    return keras.Model({"a": a, "b": b}, {"p": layers.Dense(3)(hidden), "q": layers.Dense(1)(a)})


def half_precision() -> keras.Model:
    def stack(x):
        x = layers.Conv1D(8, 3, activation="relu", dtype="mixed_float16")(x)
        return layers.Dense(3, dtype="mixed_float16")(layers.Flatten()(x))

    return functional(stack)


def subclassed() -> keras.Model:
    model = Subclassed()
    model(np.zeros((1, 16, 8), "float32"))
    return model


def reloaded() -> keras.Model:
    with tempfile.TemporaryDirectory() as directory:
        subclassed().save(Path(directory, "model.keras"))
        return keras.saving.load_model(Path(directory, "model.keras"))


def embedding(x):
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Embedding(50, 16)(x)))


def application(name: str, **options) -> Callable:
    def make():
        make_model = getattr(keras.applications, name)
        return make_model(input_shape=(64, 64, 3), weights=None, classes=10, **options)

    return make


IMAGE = (16, 16, 3)
KINDS: dict[str, Callable[[], keras.Model]] = {
    "Dense": lambda: functional(layers.Dense(3, activation="softmax"), (32,)),
    "Conv1D, batch normalization": lambda: functional(
        lambda x: layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(8, 3)(x)))
    ),
    "dilated causal Conv1D": lambda: functional(temporal),
    "residual Conv2D": lambda: functional(residual, IMAGE),
    "separable and depthwise": lambda: functional(separable, IMAGE),
    "squeeze and excite": lambda: functional(squeeze_excite, IMAGE),
    "Conv2DTranspose, upsampling": lambda: functional(upsampling, IMAGE),
    "Conv3D": lambda: functional(layers.Conv3D(4, 3), (6, 6, 6, 2)),
    "LSTM": lambda: functional(lambda x: layers.Dense(3)(layers.LSTM(8)(x))),
    "GRU, stacked": lambda: functional(
        lambda x: layers.GRU(8)(layers.GRU(8, return_sequences=True)(x))
    ),
    "Bidirectional LSTM": lambda: functional(layers.Bidirectional(layers.LSTM(8))),
    "ConvLSTM1D": lambda: functional(layers.ConvLSTM1D(4, 3), (4, 8, 3)),
    "attention, LayerNormalization": lambda: functional(transformer),
    "GroupNormalization": lambda: functional(
        lambda x: layers.GroupNormalization(4)(layers.Conv1D(8, 3)(x))
    ),
    "TimeDistributed": lambda: functional(layers.TimeDistributed(layers.Dense(4)), (6, 8)),
    "Embedding, integer inputs": lambda: functional(embedding, (12,), "int32"),
    "two inputs and outputs, dicts": two_inputs,
    "nested, with an LSTM": nested,
    "subclassed": subclassed,
    "subclassed, reloaded": reloaded,
    "mixed_float16": half_precision,
    "keras.ops graph": lambda: functional(arithmetic),
    "custom layer, loop over filters": lambda: functional(LoopOverFilters()),
    "open image size": lambda: functional(residual, (None, None, 3)),
    "MobileNetV2": application("MobileNetV2", alpha=0.35),
    "MobileNetV3Small": application("MobileNetV3Small"),
    "EfficientNetB0": application("EfficientNetB0"),
    "ResNet50": application("ResNet50"),
    "TopK": lambda: functional(lambda x: ops.top_k(layers.Dense(8)(x), 2)[0], (8,)),
    "matrix inverse": lambda: functional(lambda x: ops.inv(x), (4, 4)),
    "random at inference": lambda: functional(Noisy(), (32,)),
    "causal attention": lambda: functional(causal_attention),
    "maximum and mean": lambda: functional(maximum_and_mean, IMAGE),
    "inputs around 100 000": lambda: functional(around_100000, (4,)),
    "boxes in pixels, scores": lambda: functional(boxes_and_scores, (8,)),
    "l2_normalize over all axes": lambda: functional(NormalizedOverAll(), (3, 4)),
}


def samples_for(model: keras.Model) -> np.ndarray | dict[str, np.ndarray]:
    def samples(tensor) -> np.ndarray:
        shape = tuple(16 if size is None else size for size in tensor.shape[1:])
        if tensor.dtype == "int32":
            return random.integers(0, 50, (SAMPLES, *shape))
        scale = 255 if shape == (64, 64, 3) else 1
        return scale * random.random((SAMPLES, *shape)).astype("float32")

    if not getattr(model, "inputs", None):
        return random.random((SAMPLES, 16, 8)).astype("float32")
    if isinstance(model.input, dict):
        return {name: samples(tensor) for name, tensor in model.input.items()}
    return samples(model.inputs[0])


def around(_: keras.Model) -> np.ndarray:
    return (1e5 + 10 * random.normal(size=(SAMPLES, 4))).astype("float32")


SAMPLES_OF = {"inputs around 100 000": around}


def settle(model: keras.Model, samples: np.ndarray | dict[str, np.ndarray]) -> None:
    """Give batch normalizations the statistics of the samples.

    With their initial statistics, the signal of a deep model dies out, and without a signal all
    conversions look equal.
    """
    normalizations = [
        layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)
    ]
    for layer in normalizations:
        layer.momentum = 0.0
    if normalizations:
        model(samples, training=True)


def convert(
    model: keras.Model, mode: str, samples: np.ndarray | dict[str, np.ndarray]
) -> tuple[float, str | None]:
    """The relative difference of the file, and its warning."""
    with tempfile.TemporaryDirectory() as directory:
        if mode == "ONNX":
            outputs = keras.tree.flatten(model(samples, training=False))
            largest = max(float(ops.max(ops.abs(output))) for output in outputs)
            saved = save_model(model, Path(directory, "model.onnx"), samples)
            return saved.max_abs_diff / max(largest, 1e-9), None
        conversion = kopt.convert(model, Path(directory, "m.tflite"), mode, samples)
        return conversion.difference, conversion.warning


def main() -> None:
    chosen = sys.argv[1:] or list(KINDS)
    print(f"| model | {' | '.join(MODES)} |\n|---|{'---|' * len(MODES)}")
    reasons: list[str] = []
    verified = dict.fromkeys(MODES, 0)
    for kind in chosen:
        keras.utils.set_random_seed(0)
        model = KINDS[kind]()
        samples = SAMPLES_OF.get(kind, samples_for)(model)
        settle(model, samples)
        cells = []
        for mode in MODES:
            try:
                difference, warning = convert(model, mode, samples)
            except KoptError as error:
                reasons.append(f"{kind}, {mode}: {error}")
                cells.append(f"refused [{len(reasons)}]")
                continue
            cells.append(f"{difference:.1g}")
            if warning:
                reasons.append(f"{kind}, {mode}: {warning}")
                cells[-1] += f", warned [{len(reasons)}]"
            else:
                verified[mode] += 1
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)
    counts = " | ".join(f"{verified[mode]} of {len(chosen)}" for mode in MODES)
    print(f"| **verified** | {counts} |\n")
    for number, reason in enumerate(reasons, 1):
        print(f"{number}. {reason}")


if __name__ == "__main__":
    main()
