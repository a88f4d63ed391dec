"""Check that the tensors of a .tflite have the types that its mode promises."""

from collections.abc import Collection, Sequence

import numpy as np

from leankeras.conversion.refusal import Unsuited
from leankeras.errors import ConversionError
from leankeras.modes import INTEGER_MODES
from leankeras.runtime import CASTS, TFLiteFile, is_within

LARGE_WEIGHT = 1024
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
# Operators whose integer kernels copy values unchanged, and so cannot change the scale.
COPYING = (
    "RESHAPE", "TRANSPOSE", "REVERSE_V2", "GATHER", "GATHER_ND", "SLICE", "STRIDED_SLICE", "SPLIT",
    "PACK", "UNPACK", "TILE", "SQUEEZE", "EXPAND_DIMS", "BROADCAST_TO", "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
)  # fmt: skip


def check_types(
    file: TFLiteFile, mode: str, operator_layers: Sequence[str], keep_float: Collection[str] = ()
) -> None:
    """Refuse a file whose tensors do not have the types that the mode promises.

    Args:
        file: the converted file.
        mode: the requested mode.
        operator_layers: the Keras layer of each operator.
        keep_float: layers that may compute in floats.

    Raises:
        Unsuited: operators are left in float; the message names them and their layers.
        ConversionError: LiteRT lacks operators; the message names them.
    """
    flex = sorted(kind for kind in file.kinds if kind.startswith("Flex"))
    if flex:
        raise ConversionError(
            f"operators {', '.join(flex)} need TensorFlow at run time, which LiteRT does not have; "
            "rewrite them with operators TFLite has"
        )
    if mode in INTEGER_MODES:
        _check_integer(file, mode, operator_layers, keep_float)
    elif mode != "float32":
        _check_weights(file, mode)


def _check_integer(
    file: TFLiteFile, mode: str, operator_layers: Sequence[str], keep_float: Collection[str]
) -> None:
    left = {}
    for operator, layer in zip(file.operators, operator_layers, strict=True):
        # A cast of integer inputs has to give floats, which are then quantized.
        if operator.kind in (*CASTS, "CAST") or is_within(layer, keep_float):
            continue
        tensors = [file.tensors[index] for index in (*operator.inputs, *operator.outputs)]
        scales = {(t.type, t.scales, t.zero_points) for t in tensors if t.scales}
        if operator.kind in COPYING and len(scales) > 1:
            raise Unsuited(
                f"the converter gave input and output of {operator.kind} in layer {layer!r} "
                f"different scales, so its {mode} values are wrong",
                [layer] if layer else [],
            )
        if any(tensor.type == "float32" for tensor in tensors):
            left.setdefault(layer, set()).add(operator.kind)
    if left:
        found = "; ".join(
            f"{', '.join(sorted(kinds))} of {f'layer {layer!r}' if layer else 'the model'}"
            for layer, kinds in left.items()
        )
        layers = [layer for layer in left if layer]
        raise Unsuited(f"{mode} leaves operators in float: {found}", layers)


def _check_weights(file: TFLiteFile, mode: str) -> None:
    promised = "float16" if mode == "float16" else "int8"
    if file.tensor_types.get(promised):
        return
    for operator in file.operators:
        for index in operator.inputs:
            tensor = file.tensors[index]
            large = tensor.constant and np.prod(tensor.shape) >= LARGE_WEIGHT
            if operator.kind in WEIGHTED and large and tensor.type == "float32":
                raise Unsuited(
                    f"the {mode} file holds only float32 weights ({tensor.name}, of shape "
                    f"{tensor.shape})"
                )
