"""The operations a rewritten layer is made of: how each is run and how it is written.

One row an operation. ``run`` gets the attributes and the inputs and calls TensorFlow; ``text``
gets the attributes and the inputs' names and gives the same call as Python.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from leankeras.rewriting.functions import ELEMENTWISE, REDUCTIONS

Attributes = dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """A size that is a multiple of the batch."""

    times: int

    def __repr__(self) -> str:
        return "batch" if self.times == 1 else f"{self.times} * batch"


@dataclass(frozen=True)
class Operation:
    """How an operation is run, and how it is written.

    Args:
        run: with TensorFlow, ``run(attributes, *tensors)``.
        text: as Python, ``text(attributes, *names)``.
        on_arrays: the same with NumPy, where that is faster.
    """

    run: Callable[..., Any]
    text: Callable[..., str]
    on_arrays: Callable[..., np.ndarray] | None = None


# Further operations of TensorFlow that are kept as they are. A saved program may name these and
# no others: they compute, and touch neither files nor state.
KEPT_AS_THEY_ARE = frozenset(
    [
        "AvgPool",
        "MaxPool",
        "AvgPool3D",
        "MaxPool3D",
        "Conv3D",
        "Conv2DBackpropInput",
        "ResizeBilinear",
        "ResizeNearestNeighbor",
        "SpaceToDepth",
        "DepthToSpace",
        "SpaceToBatchND",
        "BatchToSpaceND",
        "Einsum",
        "TopKV2",
        "OneHot",
        "GatherNd",
        "GatherV2",
        "ScatterNd",
        "TensorScatterUpdate",
        "Pad",
        "PadV2",
        "MirrorPad",
        "MatrixBandPart",
        "MatrixDiagV3",
        "MatrixInverse",
        "Cholesky",
        "Cumprod",
        "L2Loss",
        "LRN",
        "LogSoftmax",
        "ArgMin",
        "Roll",
        "Range",
        "Fill",
        "InvertPermutation",
        "SegmentSum",
        "UnsortedSegmentSum",
        "Lgamma",
        "Digamma",
        "Erfc",
        "Tan",
        "Asin",
        "Acos",
        "Atan",
        "Sinh",
        "Cosh",
        "Asinh",
        "Acosh",
        "Atanh",
        "Dilation2D",
        "FFT",
        "FFT2D",
        "IFFT2D",
        "IFFT",
        "RFFT",
        "IRFFT",
        "Complex",
        "Real",
        "Imag",
        "ComplexAbs",
        "Conj",
        "Where",
        "BroadcastTo",
        "Tile",
        "Conv2D",
        "DepthwiseConv2dNative",
        "ClipByValue",
        "FusedBatchNormV3",
        "Qr",
        "Svd",
        "Xlogy",
        "Xdivy",
    ]
)


def product_form(equation: tuple[str, str, str]) -> tuple[str, int]:
    """How a product is best written: ``matmul``, ``matmul_transposed``, ``tensordot``, ``einsum``.

    Returns:
        The name, and the number of axes that are summed over.
    """
    left, right, out = equation
    summed = [axis for axis in left if axis in right and axis not in out]
    count = len(summed)
    kept = left[:-count] if count else left
    if (
        count
        and left[-count:] == right[:count] == "".join(summed)
        and out == kept + right[count:]
        and not set(kept) & set(right)
    ):
        return ("matmul" if len(left) == len(right) == 2 else "tensordot"), count
    if (
        count == 1
        and len(left) == len(right) == len(out) > 2
        and left[:-2] == right[:-2] == out[:-2]
        and (left[-1], out[-2]) == (summed[0], left[-2])
        and out[-1] in right[-2:]
    ):
        return ("matmul_transposed" if right[-1] == summed[0] else "matmul"), 1
    return "einsum", count


def _product(at: Attributes, a: Any, b: Any) -> Any:
    form, count = product_form(at["equation"])
    if form == "tensordot":
        return tf.tensordot(a, b, count)
    if form == "einsum":
        left, right, out = at["equation"]
        return tf.einsum(f"{left},{right}->{out}", a, b)
    return tf.matmul(a, b, transpose_b=form == "matmul_transposed")


def _product_text(at: Attributes, a: str, b: str) -> str:
    form, count = product_form(at["equation"])
    if form == "tensordot":
        return f"tf.tensordot({a}, {b}, {count})"
    if form == "einsum":
        left, right, out = at["equation"]
        return f'tf.einsum("{left},{right}->{out}", {a}, {b})'
    return f"tf.matmul({a}, {b}{', transpose_b=True' if form == 'matmul_transposed' else ''})"


def _window(at: Attributes) -> tuple[slice, ...]:
    stop = at["start"] + at["count"] * at["step"]
    return (*(slice(None),) * at["axis"], slice(at["start"], stop, at["step"]))


def _slice_text(at: Attributes, x: str) -> str:
    start, step = at["start"], at["step"]
    stop = start + at["count"] * step if isinstance(start, int) else f"{start} + {at['count']}"
    part = f"{start}:{stop}" + (f":{step}" if step != 1 else "")
    return f"{x}[{':, ' * at['axis']}{part}]"


def _pick(at: Attributes, x: Any) -> Any:
    return x[(*(slice(None),) * at["axis"], at["start"])]


def _shape_text(shape: tuple[Any, ...]) -> str:
    sizes = [str(each) for each in shape]
    if sum(isinstance(each, Batch) for each in shape) == 1:
        sizes = ["-1" if isinstance(each, Batch) else str(each) for each in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _convolution(function: Callable[..., Any], four: bool) -> Callable[..., Any]:
    def run(at: Attributes, x: Any, kernel: Any) -> Any:
        strides = [1, *at["strides"], 1] if four else list(at["strides"])
        return function(x, kernel, strides, at["padding"], dilations=list(at["dilations"]))

    return run


def _convolution_text(name: str, four: bool) -> Callable[..., str]:
    def text(at: Attributes, x: str, kernel: str) -> str:
        strides = [1, *at["strides"], 1] if four else list(at["strides"])
        dilations = list(at["dilations"])
        more = f", dilations={dilations}" if set(dilations) != {1} else ""
        return f'tf.nn.{name}({x}, {kernel}, {strides}, "{at["padding"]}"{more})'

    return text


def _pool(at: Attributes, x: Any) -> Any:
    function = tf.nn.max_pool2d if at["function"] == "max" else tf.nn.avg_pool2d
    return function(x, list(at["size"]), list(at["size"]), "VALID")


def kept_arguments(at: Attributes, inputs: Sequence[Any]) -> dict[str, Any]:
    """The arguments of an operation of ``tf.raw_ops``, by name."""
    remaining = iter(inputs)
    arguments: dict[str, Any] = {}
    for name, count in at["arguments"]:
        arguments[name] = (
            next(remaining) if count is None else [next(remaining) for _ in range(count)]
        )
    for name, value in at["settings"]:
        arguments[name] = list(value) if isinstance(value, tuple) else value
    return arguments


def _kept(at: Attributes, *inputs: Any) -> Any:
    if at["type"] not in KEPT_AS_THEY_ARE:
        raise ValueError(f"a program may not use the operation {at['type']}")
    out = getattr(tf.raw_ops, at["type"])(**kept_arguments(at, inputs))
    return out if at["output"] is None else out[at["output"]]


def _kept_text(at: Attributes, *inputs: str) -> str:
    names = {name for name, _ in at["arguments"]}
    given = ", ".join(
        f"{name}={value!r}"
        if name not in names
        else f"{name}={value}"
        if isinstance(value, str)
        else f"{name}=[{', '.join(value)}]"
        for name, value in kept_arguments(at, inputs).items()
    )
    call = f"tf.raw_ops.{at['type']}({given})"
    return call if at["output"] is None else f"{call}[{at['output']}]"


def _with_axis(function: Callable[..., Any], name: str) -> Operation:
    return Operation(
        lambda at, x: function(x, axis=at["axis"]),
        lambda at, x: f"{name}({x}, axis={at['axis']})",
    )


OPERATIONS: dict[str, Operation] = {
    "elementwise": Operation(
        lambda at, *x: ELEMENTWISE[at["function"]][0](*x),
        lambda at, *x: ELEMENTWISE[at["function"]][1].format(*x),
    ),
    "leaky_relu": Operation(
        lambda at, x: tf.nn.leaky_relu(x, at["alpha"]),
        lambda at, x: f"tf.nn.leaky_relu({x}, {at['alpha']:.9g})",
    ),
    "cast": Operation(
        lambda at, x: tf.cast(x, at["dtype"]), lambda at, x: f'tf.cast({x}, "{at["dtype"]}")'
    ),
    "product": Operation(_product, _product_text),
    "reduce": Operation(
        lambda at, x: REDUCTIONS[at["function"]][0](x, at["axes"]),
        lambda at, x: f"{REDUCTIONS[at['function']][1]}({x}, axis={_axes_text(at['axes'])})",
    ),
    "reshape": Operation(
        lambda at, x: tf.reshape(x, at["shape"]),
        lambda at, x: f"tf.reshape({x}, {_shape_text(at['shape'])})",
        lambda at, x: x.reshape(at["shape"]),
    ),
    "transpose": Operation(
        lambda at, x: tf.transpose(x, at["axes"]),
        lambda at, x: f"tf.transpose({x}, {at['axes']})",
        lambda at, x: x.transpose(at["axes"]),
    ),
    "broadcast": Operation(
        lambda at, x: tf.broadcast_to(x, at["shape"]),
        lambda at, x: (
            f"tf.zeros({list(at['shape'])})"
            if x == "0.0"
            else f"tf.broadcast_to({x}, {list(at['shape'])})"
        ),
        lambda at, x: np.broadcast_to(x, at["shape"]),
    ),
    "slice": Operation(lambda at, x: x[_window(at)], _slice_text, lambda at, x: x[_window(at)]),
    "pick": Operation(_pick, lambda at, x: f"{x}[{':, ' * at['axis']}{at['start']}]", _pick),
    "gather": Operation(
        lambda at, x, indices: tf.gather(x, indices, axis=at["axis"]),
        lambda at, x, indices: f"tf.gather({x}, {indices}, axis={at['axis']})",
        lambda at, x, indices: np.take(x, indices, at["axis"]),
    ),
    "batch_gather": Operation(
        lambda at, x, indices: tf.gather(x, indices, axis=at["axis"], batch_dims=at["batch_dims"]),
        lambda at, x, indices: (
            f"tf.gather({x}, {indices}, axis={at['axis']}, batch_dims={at['batch_dims']})"
        ),
    ),
    "concatenate": Operation(
        lambda at, *x: tf.concat(x, at["axis"]),
        lambda at, *x: f"tf.concat([{', '.join(x)}], axis={at['axis']})",
        lambda at, *x: np.concatenate(x, at["axis"]),
    ),
    "stack": Operation(
        lambda at, *x: tf.stack(x, at["axis"]),
        lambda at, *x: f"tf.stack([{', '.join(x)}], axis={at['axis']})",
        lambda at, *x: np.stack(x, at["axis"]),
    ),
    "unstack": Operation(
        lambda at, x: tf.unstack(x, axis=at["axis"]),
        lambda at, x: f"tf.unstack({x}, axis={at['axis']})",
        lambda at, x: np.moveaxis(x, at["axis"], 0),
    ),
    "split": Operation(
        lambda at, x: tf.split(x, at["parts"], axis=at["axis"]),
        lambda at, x: f"tf.split({x}, {at['parts']}, axis={at['axis']})",
        lambda at, x: np.stack(np.split(x, at["parts"], at["axis"])),
    ),
    "item": Operation(
        lambda at, x: x[at["start"]],
        lambda at, x: f"{x}[{at['start']}]",
        lambda at, x: x[at["start"]],
    ),
    "softmax": _with_axis(tf.nn.softmax, "tf.nn.softmax"),
    "cumsum": Operation(
        lambda at, x: tf.cumsum(x, at["axis"], at["exclusive"], at["reverse"]),
        lambda at, x: (
            f"tf.cumsum({x}, axis={at['axis']}"
            + "".join(f", {name}=True" for name in ("exclusive", "reverse") if at[name])
            + ")"
        ),
    ),
    "argmax": Operation(
        lambda at, x: tf.argmax(x, at["axis"], at["dtype"]),
        lambda at, x: f'tf.argmax({x}, axis={at["axis"]}, output_type="{at["dtype"]}")',
    ),
    "convolution": Operation(
        _convolution(tf.nn.conv2d, four=False), _convolution_text("conv2d", four=False)
    ),
    "depthwise": Operation(
        _convolution(tf.nn.depthwise_conv2d, four=True),
        _convolution_text("depthwise_conv2d", four=True),
    ),
    "pool": Operation(
        _pool,
        lambda at, x: (
            f'tf.nn.{at["function"]}_pool2d({x}, {list(at["size"])}, {list(at["size"])}, "VALID")'
        ),
    ),
    "kept": Operation(_kept, _kept_text),
}
# What moves numbers about and computes nothing.
MOVES = frozenset({"reshape", "transpose", "slice", "pick", "gather", "concatenate", "stack"})


def _axes_text(axes: tuple[int, ...]) -> str:
    return str(axes[0] if len(axes) == 1 else axes)
