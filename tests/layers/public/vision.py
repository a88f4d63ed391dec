"""Layers from public code for images."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.public.public import Public, numbers, register


@register
class RoiPooling(keras.Layer):
    """Boxes cut out and pooled on grids of several sizes, the first sample's for all."""

    def __init__(self, pool_list, num_rois, **kwargs):
        self.pool_list = pool_list
        self.num_rois = num_rois
        super().__init__(**kwargs)

    def build(self, input_shape):
        self.channels = input_shape[0][3]

    def get_config(self):
        return {**super().get_config(), "pool_list": self.pool_list, "num_rois": self.num_rois}

    def call(self, inputs, mask=None):
        image, rois = inputs
        outputs = []
        for index in range(self.num_rois):
            x, y, w, h = (rois[0, index, k] for k in range(4))
            for size in self.pool_list:
                for ix in range(size):
                    for iy in range(size):
                        x1 = ops.cast(ops.round(x + ix * w / size), "int32")
                        x2 = ops.cast(ops.round(x + (ix + 1) * w / size), "int32")
                        y1 = ops.cast(ops.round(y + iy * h / size), "int32")
                        y2 = ops.cast(ops.round(y + (iy + 1) * h / size), "int32")
                        outputs.append(tf.reduce_max(image[:, y1:y2, x1:x2, :], axis=(1, 2)))
        return ops.concatenate(outputs, axis=-1)


def images_and_boxes():
    boxes = np.array([[0, 0, 8, 8], [2, 4, 6, 4], [4, 0, 4, 8], [0, 4, 8, 4], [2, 2, 4, 4]])
    shifts = np.arange(16)[:, None, None] % 2 * np.array([2, 2, -2, -2])
    return [numbers(16, 10, 10, 3), (boxes[None] + shifts).astype("float32")]


@register
class Dilation2D(keras.Layer):
    """Morphological dilation, a structuring element for each filter in turn."""

    def __init__(self, num_filters, kernel_size, **kwargs):
        super().__init__(**kwargs)
        self.num_filters = num_filters
        self.kernel_size = kernel_size

    def build(self, input_shape):
        shape = (*self.kernel_size, input_shape[-1], self.num_filters)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")

    def call(self, x):
        for i in range(self.num_filters):
            out = ops.max(self._dilate(x, self.kernel[..., i]), axis=-1, keepdims=True)
            outputs = out if i == 0 else ops.concatenate([outputs, out], axis=-1)  # noqa: F821
        return outputs

    def _dilate(self, x, element):
        return tf.nn.dilation2d(x, element, (1, 1, 1, 1), "SAME", "NHWC", (1, 1, 1, 1))


@register
class AnchorBoxes(keras.Layer):
    """Default boxes from the size of a feature map alone, computed with NumPy."""

    def __init__(self, image_size, scale, ratios=(0.5, 1.0, 2.0), this_steps=None, **kwargs):
        super().__init__(**kwargs)
        self.image_size = image_size
        self.scale = scale
        self.ratios = ratios
        self.this_steps = this_steps

    def get_config(self):
        config = {"image_size": self.image_size, "scale": self.scale, "ratios": self.ratios}
        return {**super().get_config(), **config}

    def call(self, x, mask=None):
        sizes = []
        for ratio in self.ratios:
            if ratio == 1:
                sizes.append((self.scale, self.scale))
            else:
                sizes.append((self.scale * np.sqrt(ratio), self.scale / np.sqrt(ratio)))
        _, height, width, _ = x.shape
        steps = self.this_steps or self.image_size / height
        cy, cx = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        boxes = np.zeros((height, width, len(sizes), 4))
        boxes[..., 0] = np.tile(np.expand_dims(cx * steps, -1), (1, 1, len(sizes)))
        boxes[..., 1] = np.tile(np.expand_dims(cy * steps, -1), (1, 1, len(sizes)))
        boxes[..., 2:] = np.array(sizes) * self.image_size
        boxes[boxes > self.image_size] = self.image_size
        boxes = ops.convert_to_tensor(boxes[None], dtype="float32")
        return ops.tile(boxes, (ops.shape(x)[0], 1, 1, 1, 1))


@register
class BilinearInterpolation(keras.Layer):
    """The sampler of a spatial transformer: all points at once, by flat indices."""

    def __init__(self, output_size, **kwargs):
        self.output_size = output_size
        super().__init__(**kwargs)

    def get_config(self):
        return {"output_size": self.output_size}

    def call(self, tensors, mask=None):
        image, affine = tensors
        height, width = self.output_size
        batch = ops.shape(image)[0]
        xs, ys = tf.meshgrid(tf.linspace(-1.0, 1.0, width), tf.linspace(-1.0, 1.0, height))
        flat = [tf.reshape(xs, [-1]), tf.reshape(ys, [-1]), tf.ones(height * width)]
        grid = tf.tile(tf.stack(flat)[None], [batch, 1, 1])
        sampled = tf.matmul(tf.reshape(affine, (batch, 2, 3)), grid)
        return self._interpolate(image, sampled, batch)

    def _interpolate(self, image, sampled, batch):
        rows, columns, channels = image.shape[1:]
        x = 0.5 * (sampled[:, 0] + 1.0) * float(columns)
        y = 0.5 * (sampled[:, 1] + 1.0) * float(rows)
        x0, y0 = ops.cast(x, "int32"), ops.cast(y, "int32")
        base = tf.range(batch)[:, None] * (rows * columns)
        pixels = tf.reshape(image, (-1, channels))
        x1, y1 = x0 + 1, y0 + 1
        left, right = ops.cast(x1, "float32") - x, x - ops.cast(x0, "float32")
        upper, lower = ops.cast(y1, "float32") - y, y - ops.cast(y0, "float32")
        x0, x1 = ops.clip(x0, 0, columns - 1), ops.clip(x1, 0, columns - 1)
        y0, y1 = ops.clip(y0, 0, rows - 1) * columns, ops.clip(y1, 0, rows - 1) * columns
        total = (left * upper)[..., None] * tf.gather(pixels, base + y0 + x0)
        total = total + (left * lower)[..., None] * tf.gather(pixels, base + y1 + x0)
        total = total + (right * upper)[..., None] * tf.gather(pixels, base + y0 + x1)
        total = total + (right * lower)[..., None] * tf.gather(pixels, base + y1 + x1)
        return tf.reshape(total, (batch, *self.output_size, channels))


@register
class Involution(keras.Layer):
    """A kernel for each place, made from what is there; takes only a name of what Keras gives."""

    def __init__(self, channel, group_number, kernel_size, stride, reduction_ratio, name):
        super().__init__(name=name)
        self.channel = channel
        self.group_number = group_number
        self.kernel_size = kernel_size
        self.stride = stride
        self.reduction_ratio = reduction_ratio

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.stride_layer = (
            keras.layers.AveragePooling2D(self.stride) if self.stride > 1 else tf.identity
        )
        squared = self.kernel_size**2
        self.kernel_gen = keras.Sequential(
            [
                keras.layers.Conv2D(self.channel // self.reduction_ratio, 1),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(),
                keras.layers.Conv2D(squared * self.group_number, 1),
            ]
        )
        self.kernel_gen.build(input_shape)
        place = (height // self.stride, width // self.stride, squared)
        groups = self.group_number
        self.kernel_reshape = keras.layers.Reshape((*place, 1, groups))
        self.patches_reshape = keras.layers.Reshape((*place, channels // groups, groups))
        self.output_reshape = keras.layers.Reshape((*place[:2], channels))

    def call(self, x):
        kernel = self.kernel_reshape(self.kernel_gen(self.stride_layer(x)))
        patches = ops.image.extract_patches(
            x, self.kernel_size, strides=self.stride, padding="same"
        )
        output = tf.reduce_sum(kernel * self.patches_reshape(patches), axis=3)
        return self.output_reshape(output), kernel


@register
class FocalModulation(keras.Layer):
    """Contexts of growing width, gated; what it computed stays on the layer, to be looked at."""

    def __init__(self, dim, focal_window=3, focal_level=3, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.focal_window = focal_window
        self.focal_level = focal_level
        self.initial_proj = keras.layers.Dense(2 * dim + focal_level + 1)
        self.focal_layers = []
        for index in range(focal_level):
            size = 2 * index + focal_window
            self.focal_layers.append(
                keras.layers.DepthwiseConv2D(size, padding="same", activation="gelu")
            )
        self.gap = keras.layers.GlobalAveragePooling2D(keepdims=True)
        self.modulator_proj = keras.layers.Conv2D(dim, 1)
        self.proj = keras.layers.Dense(dim)

    def call(self, x, training=None):
        query, context, self.gates = tf.split(
            self.initial_proj(x), [self.dim, self.dim, self.focal_level + 1], axis=-1
        )
        context = self.focal_layers[0](context)
        context_all = context * self.gates[..., 0:1]
        for index in range(1, self.focal_level):
            context = self.focal_layers[index](context)
            context_all += context * self.gates[..., index : index + 1]
        context_all += ops.gelu(self.gap(context)) * self.gates[..., self.focal_level :]
        self.modulator = self.modulator_proj(context_all)
        return self.proj(query * self.modulator)


@register
class WindowAttention(keras.Layer):
    """Attention in a window, with a table of relative positions in a tf.Variable."""

    def __init__(self, dim, window_size, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.window_size = window_size
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = keras.layers.Dense(dim * 3)
        self.proj = keras.layers.Dense(dim)

    def build(self, input_shape):
        rows, columns = self.window_size
        self.qkv.build(input_shape)
        self.proj.build(input_shape)
        self.bias_table = self.add_weight(
            shape=((2 * rows - 1) * (2 * columns - 1), self.num_heads), initializer="zeros"
        )
        coords = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
        flat = coords.reshape(2, -1)
        relative = (flat[:, :, None] - flat[:, None, :]).transpose(1, 2, 0)
        relative += np.array([rows - 1, columns - 1])
        index = relative[:, :, 0] * (2 * columns - 1) + relative[:, :, 1]
        self.relative_position_index = tf.Variable(
            initial_value=index, shape=index.shape, dtype="int32", trainable=False
        )

    def call(self, x):
        _, size, channels = x.shape
        head_dim = channels // self.num_heads
        qkv = tf.reshape(self.qkv(x), (-1, size, 3, self.num_heads, head_dim))
        qkv = tf.transpose(qkv, perm=(2, 0, 3, 1, 4))
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q * self.scale) @ tf.transpose(k, perm=(0, 1, 3, 2))
        bias = tf.gather(self.bias_table, tf.reshape(self.relative_position_index, (-1,)))
        bias = tf.transpose(tf.reshape(bias, (size, size, -1)), perm=(2, 0, 1))
        attention = tf.nn.softmax(scores + bias[None], axis=-1)
        x = tf.transpose(attention @ v, perm=(0, 2, 1, 3))
        return self.proj(tf.reshape(x, (-1, size, channels)))


@register
class SpatialPyramidPooling(keras.Layer):
    """Max pooling on grids of several sizes, cell by cell."""

    def __init__(self, pool_list, **kwargs):
        self.pool_list = pool_list
        super().__init__(**kwargs)

    def get_config(self):
        return {**super().get_config(), "pool_list": self.pool_list}

    def call(self, x, mask=None):
        rows, columns = x.shape[1:3]
        outputs = []
        for size in self.pool_list:
            for ix in range(size):
                for iy in range(size):
                    x1, x2 = ix * columns // size, (ix + 1) * columns // size
                    y1, y2 = iy * rows // size, (iy + 1) * rows // size
                    outputs.append(ops.max(x[:, y1:y2, x1:x2, :], axis=(1, 2)))
        return ops.concatenate(outputs, axis=-1)


@register
class MinibatchStdev(keras.Layer):
    """How much the batch varies, as one more channel."""

    def call(self, x):
        deviation = ops.sqrt(ops.mean(ops.square(x - ops.mean(x, axis=0)), axis=0) + 1e-8)
        mean = ops.mean(deviation, keepdims=True)[None]
        shape = ops.shape(x)
        tiled = ops.tile(mean, (shape[0], shape[1], shape[2], 1))
        return ops.concatenate([x, tiled], axis=-1)


@register
class L2Normalization(keras.Layer):
    """Channels brought to one length, times a scale that was meant to be learnt."""

    def __init__(self, gamma_init=20, **kwargs):
        self.gamma_init = gamma_init
        super().__init__(**kwargs)

    def build(self, input_shape):
        gamma = self.gamma_init * np.ones((input_shape[-1],))
        self.gamma = tf.Variable(gamma, dtype="float32", name=f"{self.name}_gamma")
        super().build(input_shape)

    def get_config(self):
        return {"gamma_init": self.gamma_init, **super().get_config()}

    def call(self, x, mask=None):
        return tf.math.l2_normalize(x, axis=-1) * self.gamma


@register
class DropPath(keras.Layer):
    """Drops whole samples, whether it trains or not."""

    def __init__(self, drop_prob=0.2, **kwargs):
        super().__init__(**kwargs)
        self.drop_prob = drop_prob

    def call(self, x):
        shape = (tf.shape(x)[0],) + (1,) * (x.shape.rank - 1)
        mask = tf.floor((1 - self.drop_prob) + tf.random.uniform(shape, dtype=x.dtype))
        return tf.math.divide(x, 1 - self.drop_prob) * mask


@register
class SqueezeExcite(keras.Layer):
    """Squeeze and excitation with its layers made in call."""

    def __init__(self, ratio=4, **kwargs):
        super().__init__(**kwargs)
        self.ratio = ratio

    def call(self, x):
        filters = x.shape[-1]
        squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        squeezed = keras.layers.Dense(filters // self.ratio, activation="relu")(squeezed)
        gates = keras.layers.Dense(filters, activation="sigmoid")(squeezed)
        return keras.layers.Multiply()([x, gates])


@register
class YoloHead(keras.Layer):
    """Boxes decoded anchor by anchor."""

    def __init__(self, anchors, classes=3, **kwargs):
        super().__init__(**kwargs)
        self.anchors = anchors
        self.classes = classes

    def call(self, x):
        rows, columns = x.shape[1:3]
        x = tf.reshape(x, (-1, rows, columns, len(self.anchors), 5 + self.classes))
        grid = tf.cast(tf.stack(tf.meshgrid(range(columns), range(rows)), axis=-1), "float32")
        boxes = []
        for index, (width, height) in enumerate(self.anchors):
            one = x[:, :, :, index]
            xy = (tf.sigmoid(one[..., :2]) + grid) / [columns, rows]
            wh = tf.exp(one[..., 2:4]) * [width, height]
            boxes.append(tf.concat([xy, wh, tf.sigmoid(one[..., 4:])], axis=-1))
        return tf.stack(boxes, axis=3)


ANCHORS = ((0.1, 0.2), (0.2, 0.1), (0.3, 0.3), (0.4, 0.6), (0.7, 0.5))

VISION = [
    Public(
        "yhenon/keras-spp: RoiPooling",
        lambda: RoiPooling([1, 2], 5),
        [(10, 10, 3), (5, 4)],
        {"batch-dependent": "error", "loop-over-regions": "warning"},
        samples=images_and_boxes,
    ),
    Public(
        "ranjanZ morphological networks: Dilation2D",
        lambda: Dilation2D(5, (3, 3)),
        (8, 8, 3),
        {"python-loop": "warning", "tflite-fails": "error"},
    ),
    Public(
        "pierluigiferrari/ssd_keras: AnchorBoxes",
        lambda: AnchorBoxes(64, 0.2),
        (6, 6, 4),
        {"lost-argument": "warning"},
    ),
    Public(
        "oarriaga/STN.keras: BilinearInterpolation",
        lambda: BilinearInterpolation((6, 6)),
        [(8, 8, 2), (6,)],
        {},
    ),
    Public(
        "keras-team/keras-io: Involution",
        lambda: Involution(4, 1, 3, 1, 2, "involution"),
        (6, 6, 4),
        {"reload-fails": "error"},
    ),
    Public(
        "keras-team/keras-io: FocalModulationLayer",
        lambda: FocalModulation(4),
        (6, 6, 4),
        {"state-in-call": "warning"},
    ),
    Public(
        "keras-team/keras-io: WindowAttention",
        lambda: WindowAttention(8, (3, 3), 2),
        (9, 8),
        {},
    ),
    Public(
        "yhenon/keras-spp: SpatialPyramidPooling",
        lambda: SpatialPyramidPooling([1, 2, 4]),
        (8, 8, 3),
        {"loop-over-positions": "warning"},
    ),
    Public(
        "yeahiasarker/Attention-Aware-Capsule-GAN: MinibatchStdev",
        MinibatchStdev,
        (4, 4, 3),
        {"batch-dependent": "error"},
    ),
    Public(
        "pierluigiferrari/ssd_keras: L2Normalization",
        L2Normalization,
        (6, 6, 4),
        {"tf-variable": "error"},
    ),
    Public(
        "Swin Transformers after keras-io: DropPath",
        DropPath,
        (6, 8),
        {"random-without-training": "error"},
    ),
    Public(
        "squeeze and excitation in call, as in many notebooks",
        SqueezeExcite,
        (6, 6, 8),
        {"created-in-call": "error"},
    ),
    Public(
        "YOLO heads of many repositories",
        lambda: YoloHead(ANCHORS),
        (4, 4, 40),
        {"python-loop": "warning"},
    ),
]
