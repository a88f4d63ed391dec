"""How far the outputs of a file are from the model's: by output, by part and by channel.

Every figure is relative: the root mean square of the difference over that of the model's output.
One figure for a whole output hides its small parts, such as scores beside boxes in pixels. So
channels (the last axis) are measured one by one, and if the file joins an output from parts, each
part is measured separately.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leankeras.runtime import CASTS, TFLiteFile

FLOOR = 1 / 32  # eight steps of 1/256: smaller probabilities are not distinguished
SMALL = 1e-4  # of its part: a smaller channel is ignored, unless it is lost altogether
ROUNDING = 1e-6  # of its part: a channel that varies less is zero up to float32 rounding
CONSTANT = 1e-5  # of its own size: a channel that varies less is a constant
LOST = 0.05  # of its variation: a channel with less left is the same for every sample
SURE = 0.1  # a larger lead of the first class over the second is not a tie
PROBABILITIES = ("SOFTMAX", "LOGISTIC")


@dataclass(frozen=True)
class Part:
    """Channels of an output that belong together.

    Attributes:
        output: the output's name.
        channels: their range along the last axis.
        kind: the kind of operator that computes them, such as ``"SOFTMAX"``.
        operator: the place in the file of the operator that computes the output, or joins its
            parts; None for an output that is an input.
        alone: whether it is the whole output.
    """

    output: str
    channels: slice
    kind: str
    operator: int | None
    alone: bool


@dataclass(frozen=True)
class Difference:
    """How far a part of an output is from the model's.

    Attributes:
        part: the part.
        relative: the difference of all its channels together.
        channels: the difference of each channel, shape ``(channels,)``; for a negligible channel,
            relative to the size of the part.
        sizes: the root mean square of each channel over that of the part.
        blurred: the difference over the channel's variation from sample to sample; 0 if it does
            not vary or is negligible.
        lost: whether a channel that varies in the model is the same for every sample in the file.
        outlier: the largest difference of one sample, over its size or that of the part.
        outlier_at: that sample's number.
        sure: for a softmax, the number of samples in which one class is clearly ahead.
        flipped: how many of them get a different class from the file.
    """

    part: Part
    relative: float
    channels: np.ndarray
    sizes: np.ndarray
    blurred: np.ndarray
    lost: np.ndarray
    outlier: float
    outlier_at: int
    sure: int = 0
    flipped: int = 0

    @property
    def channel(self) -> int:
        """The number of the worst channel, along the output's last axis."""
        return self.part.channels.start + int(self.channels.argmax())


def output_parts(file: TFLiteFile) -> list[Part]:
    """The parts of a file's outputs: the inputs of a final concatenation, else the whole."""
    makers = {
        index: place for place, operator in enumerate(file.operators) for index in operator.outputs
    }
    parts = []
    for name, index in file.outputs.items():
        tensor, place = _source(file, makers, index)
        pieces = _joined(file, place) or (tensor,)
        start = 0
        for piece in pieces:
            _, maker = _source(file, makers, piece)
            size = _channels(file.tensors[piece].shape)
            kind = "" if maker is None else file.operators[maker].kind
            alone = len(pieces) == 1
            parts.append(Part(name, slice(start, start + size), kind, place, alone))
            start += size
    return parts


def measure(
    parts: list[Part], expected: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
) -> list[Difference]:
    """Measure each part of the outputs.

    Args:
        parts: the result of :func:`output_parts` for the file.
        expected: the model's outputs by name, ``(n, ...)``.
        values: the file's outputs, in the same shapes.
    """
    return [_measure(part, expected[part.output], values[part.output]) for part in parts]


def _source(file: TFLiteFile, makers: Mapping[int, int], tensor: int) -> tuple[int, int | None]:
    """The original tensor behind casts and reshapes, and the operator that computes it."""
    while (place := makers.get(tensor)) is not None:
        operator = file.operators[place]
        source = operator.inputs[0]
        reshaped = operator.kind == "RESHAPE" and _channels(
            file.tensors[source].shape
        ) == _channels(file.tensors[tensor].shape)
        if operator.kind not in CASTS and not reshaped:
            return tensor, place
        tensor = source
    return tensor, None


def _joined(file: TFLiteFile, place: int | None) -> tuple[int, ...]:
    """The tensors that a concatenation joins along the last axis; none for another operator."""
    if place is None or file.operators[place].kind != "CONCATENATION":
        return ()
    operator = file.operators[place]
    shape = file.result(operator).shape
    pieces = [file.tensors[index].shape for index in operator.inputs]
    along = all(piece[:-1] == shape[:-1] for piece in pieces)
    return operator.inputs if along and sum(p[-1] for p in pieces) == shape[-1] else ()


def _channels(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) > 1 else 1


def _measure(part: Part, expected: np.ndarray, values: np.ndarray) -> Difference:
    exact, given = (_by_channel(array)[..., part.channels] for array in (expected, values))
    apart = given - exact
    size, sizes, spread = _size(exact), _size(exact, (0, 1)), _spread(exact)
    errors = _size(apart, (0, 1))
    floor = FLOOR if part.kind in PROBABILITIES else 0.0
    counts = sizes > SMALL * size
    channels = errors / (np.maximum(np.where(counts, sizes, size), floor) if size else 1.0)
    relative = _size(apart) / (max(size, floor / np.sqrt(len(sizes))) or 1.0)
    if np.array_equal(exact, np.round(exact)):  # class indices, say, each of which is right
        share = (apart != 0).mean(axis=(0, 1))  # or wrong, whatever the distance
        channels, relative = np.minimum(channels, share), min(relative, float(share.mean()))
    varies = spread > np.maximum(CONSTANT * sizes, ROUNDING * size)
    steps = np.where(varies & counts, np.maximum(spread, floor), np.inf)
    lost = varies & (spread > floor) & (_spread(given) < LOST * spread)
    by_sample = _size(apart, (1, 2)) / np.maximum(_size(exact, (1, 2)), max(size, floor) or 1.0)
    sure, flipped = _flips(exact, given) if part.kind == "SOFTMAX" else (0, 0)
    return Difference(
        part=part,
        relative=relative,
        channels=channels,
        sizes=sizes / (size or 1.0),
        blurred=errors / steps,
        lost=lost,
        outlier=float(by_sample.max()),
        outlier_at=int(by_sample.argmax()),
        sure=sure,
        flipped=flipped,
    )


def _by_channel(array: np.ndarray) -> np.ndarray:
    """Any output as floats of shape ``(n, positions, channels)``."""
    channels = array.shape[-1] if array.ndim > 1 else 1
    return array.astype("float64").reshape(len(array), -1, channels)


def _size(array: np.ndarray, axes: tuple[int, ...] | None = None):
    size = np.sqrt(np.square(array).mean(axis=axes))
    return float(size) if axes is None else size


def _spread(array: np.ndarray) -> np.ndarray:
    """How much each channel varies from sample to sample at a fixed position."""
    return np.sqrt(array.var(axis=0).mean(axis=0))


def _flips(exact: np.ndarray, given: np.ndarray) -> tuple[int, int]:
    if exact.shape[-1] < 2:
        return 0, 0
    ranked = np.sort(exact, axis=-1)
    sure = ranked[..., -1] - ranked[..., -2] > SURE
    other = exact.argmax(axis=-1) != given.argmax(axis=-1)
    return int(sure.sum()), int((sure & other).sum())
