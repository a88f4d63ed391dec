"""Layers for boxes: corners as inputs, and pixels alongside confidences as outputs."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.pattern import Formula, Function

FIRST, SECOND = 4, 5
CELLS, CLASSES, PIXELS = 3, 2, 640.0


def corners(rng, count, boxes):
    low = rng.uniform(0, 1, (count, boxes, 2))
    return np.concatenate([low, low + rng.uniform(0.1, 0.8, low.shape)], -1).astype("float32")


class Overlap(keras.Layer):
    """Intersection over union of every box of one list with every box of another."""

    def call(self, inputs):
        first, second = inputs
        rows = []
        for i in range(FIRST):
            a = first[:, i : i + 1]
            width = tf.minimum(a[..., 2], second[..., 2]) - tf.maximum(a[..., 0], second[..., 0])
            height = tf.minimum(a[..., 3], second[..., 3]) - tf.maximum(a[..., 1], second[..., 1])
            shared = tf.nn.relu(width) * tf.nn.relu(height)
            areas = [(b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) for b in (a, second)]
            rows.append(shared / (areas[0] + areas[1] - shared + 1e-9))
        return tf.stack(rows, axis=1)


def overlap(clamp=ops.relu, less=1.0, edge=0.0, order=(0, 1, 2, 3), area=lambda size: size):
    def function(layer, inputs):
        a, b = inputs[0][:, :, None], inputs[1][:, None]
        x1, y1, x2, y2 = order
        low = ops.maximum(a[..., :2], b[..., :2])
        high = ops.minimum(a[..., 2:], b[..., 2:])
        shared = ops.prod(clamp(high - low + edge), axis=-1)
        areas = [
            area(c[..., x2] - c[..., x1] + edge) * area(c[..., y2] - c[..., y1] + edge)
            for c in (a, b)
        ]
        return shared / (areas[0] + areas[1] - less * shared + 1e-9)

    return lambda: Formula(function), None


OVERLAP = Function(
    "overlap of boxes",
    Overlap,
    [(FIRST, 4), (SECOND, 4)],
    lambda rng: [corners(rng, 8, FIRST), corners(rng, 8, SECOND)],
    right={
        "all boxes at once": overlap(),
        "areas above zero": overlap(area=ops.relu),
    },
    wrong={
        "boxes that do not meet": overlap(clamp=lambda size: size),
        "union counts the shared part twice": overlap(less=0.0),
        "corners inclusive, as in pixels": overlap(edge=1.0),
        "corners read as x, x, y, y": overlap(order=(0, 2, 1, 3)),
        "distance for clamp": overlap(clamp=ops.abs),
    },
)


class Detections(keras.Layer):
    """Boxes in pixels, beside an objectness and the classes, cell by cell."""

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 5 + CLASSES))
        self.bias = self.add_weight(name="bias", shape=(5 + CLASSES,), initializer="zeros")

    def call(self, x):
        cells = []
        for i in range(CELLS):
            for j in range(CELLS):
                raw = x[:, i, j] @ self.kernel + self.bias
                place = tf.constant([[j, i]], "float32")
                center = (tf.sigmoid(raw[:, :2]) + place) * (PIXELS / CELLS)
                size = tf.exp(tf.minimum(raw[:, 2:4], 4.0)) * 32
                cells.append(tf.concat([center, size, tf.sigmoid(raw[:, 4:])], axis=-1))
        return tf.stack(cells, axis=1)


def detections(transposed=False, score=ops.sigmoid, cap=4.0, swapped=False, last=-1):
    def function(layer, x):
        raw = ops.matmul(x, layer.kernel) + layer.bias
        raw = ops.reshape(raw, (-1, CELLS * CELLS, 5 + CLASSES))
        row, column = np.divmod(np.arange(CELLS * CELLS, dtype="float32"), CELLS)
        place = np.stack([row, column] if swapped else [column, row], axis=-1)
        center = (ops.sigmoid(raw[..., :2]) + place) * (PIXELS / CELLS)
        size = ops.exp(ops.minimum(raw[..., 2:4], cap)) * 32
        found = ops.concatenate([center, size, score(raw[..., 4:])], axis=-1)
        return ops.transpose(found, (0, 2, 1)) if transposed else found

    return lambda: Formula(function, kernel=(2, 5 + CLASSES), bias=(5 + CLASSES,)), None


DETECTIONS = Function(
    "boxes in pixels and scores",
    Detections,
    (CELLS, CELLS, 2),
    lambda rng: rng.normal(size=(6, CELLS, CELLS, 2)).astype("float32"),
    right={
        "all cells at once": detections(),
        "scores by tanh": detections(score=lambda raw: 0.5 + 0.5 * ops.tanh(raw / 2)),
    },
    wrong={
        "scores one per cent too low": detections(score=lambda raw: 0.99 * ops.sigmoid(raw)),
        "scores clipped away from 0 and 1": detections(
            score=lambda raw: ops.clip(ops.sigmoid(raw), 0.03, 0.97)
        ),
        "one class a little too high": detections(
            score=lambda raw: ops.sigmoid(raw) + np.float32([0, 0, 0.002])
        ),
        "rows and columns swapped": detections(swapped=True),
        "size not limited": detections(cap=40.0),
    },
)


class ChannelsFirst(Detections):
    """The same with the channels before the cells, as some exporters have it."""

    def call(self, x):
        return tf.transpose(super().call(x), (0, 2, 1))


CHANNELS_FIRST = Function(
    "boxes and scores, channels first",
    ChannelsFirst,
    (CELLS, CELLS, 2),
    lambda rng: rng.normal(size=(6, CELLS, CELLS, 2)).astype("float32"),
    right={"all cells at once": detections(transposed=True)},
    wrong={
        "scores one per cent too low": detections(True, score=lambda raw: 0.99 * ops.sigmoid(raw)),
    },
)


class Centers(keras.Layer):
    """Corners to centers and sizes, in parts of an image."""

    def call(self, boxes):
        x1, y1, x2, y2 = [boxes[..., i] for i in range(4)]
        parts = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        return tf.stack(parts, axis=-1) / tf.constant([320.0, 240.0, 320.0, 240.0])


def centers(matrix, scale=(320.0, 240.0, 320.0, 240.0)):
    return (
        lambda: Formula(
            lambda layer, boxes: ops.matmul(boxes, np.float32(matrix)) / np.float32(scale)
        ),
        None,
    )


TO_CENTERS = [[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]]

CENTERS = Function(
    "corners to centers",
    Centers,
    (FIRST, 4),
    lambda rng: 240 * corners(rng, 8, FIRST),
    right={"product": centers(TO_CENTERS)},
    wrong={
        "width and height swapped": centers(np.float32(TO_CENTERS)[:, [0, 1, 3, 2]]),
        "sizes halved": centers(TO_CENTERS, (320.0, 240.0, 640.0, 480.0)),
        "image turned": centers(TO_CENTERS, (240.0, 320.0, 240.0, 320.0)),
        "corner in place of center": centers(
            [[1, 0, -1, 0], [0, 1, 0, -1], [0, 0, 1, 0], [0, 0, 0, 1]]
        ),
    },
)

FUNCTIONS = [OVERLAP, DETECTIONS, CHANNELS_FIRST, CENTERS]
