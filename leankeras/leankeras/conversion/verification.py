"""Whether a .tflite file is what was asked for: its types, its operators, its outputs."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from leankeras.errors import ConversionError
from leankeras.modes import INTEGER_MODES
from leankeras.runtime import CASTS, TFLiteFile, is_within

FLOAT32_TOLERANCE = 1e-4
INT16_TOLERANCE = 0.2
LARGE_WEIGHT = 1024
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
# Operators whose integer kernels copy values as they are, and so cannot change the scale.
COPYING = (
    "RESHAPE", "TRANSPOSE", "REVERSE_V2", "GATHER", "GATHER_ND", "SLICE", "STRIDED_SLICE", "SPLIT",
    "PACK", "UNPACK", "TILE", "SQUEEZE", "EXPAND_DIMS", "BROADCAST_TO", "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
)  # fmt: skip


def check_types(
    file: TFLiteFile, mode: str, operator_layers: Sequence[str], keep_float: Collection[str] = ()
) -> None:
    """Refuse a file whose tensors are not what the mode promises.

    Args:
        file: the converted file.
        mode: what was asked for.
        operator_layers: the Keras layer of each operator.
        keep_float: layers that may compute in floats.

    Raises:
        ConversionError: naming operators and layers left in float, or operators that LiteRT lacks.
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


def max_abs_difference(
    reference: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], mode: str
) -> float:
    """The largest difference of any output from the model's, after refusing impossible ones.

    Args:
        reference: the model's outputs by name.
        outputs: the file's.
        mode: ``"float32"`` must be equal to 1e-4 of the largest output (1 at least), and
            ``"int16x8"``, some kernels of which are wrong, to a fifth of the largest output.

    Raises:
        ConversionError: NaN or Inf, other shapes, or a float32 file that is not the same function.
    """
    differences = []
    for name, expected in reference.items():
        values = outputs[name]
        if not np.isfinite(expected).all():
            raise ConversionError(
                f"output {name} of the model itself holds NaN or Inf on the samples; correct the "
                "model, or give calibration samples that it is meant for"
            )
        if values.shape != expected.shape:
            raise ConversionError(
                f"output {name} has shape {values.shape} in the file and {expected.shape} in the "
                "model; the model's output shape depends on its values"
            )
        if not np.isfinite(values).all():
            raise ConversionError(
                f"output {name} of the {mode} file holds NaN or Inf where the model's does not; "
                "convert in another mode"
            )
        difference = np.abs(values.astype("float64") - expected.astype("float64")).max(initial=0)
        scale = max(1.0, float(np.abs(expected.astype("float64")).max(initial=0)))
        if mode == "float32" and difference > FLOAT32_TOLERANCE * scale:
            raise ConversionError(
                f"output {name} of the float32 file is {difference:.2g} away from the model's, of "
                f"up to {scale:.2g}; the converter changed what it computes, so simplify the model "
                "or report it to the converter's makers"
            )
        largest = float(np.abs(expected.astype("float64")).max(initial=0))
        if mode == "int16x8" and difference > INT16_TOLERANCE * largest:
            raise ConversionError(
                f"output {name} of the int16x8 file is {difference:.2g} away from the model's, of "
                f"up to {largest:.2g}, far above what 16 bits round; a kernel of it is wrong, so "
                "convert in mode 'int8' or 'float16'"
            )
        differences.append(float(difference))
    return max(differences)


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
            raise ConversionError(
                f"the converter gave input and output of {operator.kind} in layer {layer!r} "
                f"different scales, so that its {mode} values are wrong; convert in mode "
                "'float32', or rewrite the layer without it"
            )
        if any(tensor.type == "float32" for tensor in tensors):
            left.setdefault(layer, set()).add(operator.kind)
    if left:
        found = "; ".join(
            f"{', '.join(sorted(kinds))} of {f'layer {layer!r}' if layer else 'the model'}"
            for layer, kinds in left.items()
        )
        names = [layer for layer in left if layer]
        exempt = f"keep_float={names}, or " if names and mode != "int16x8" else ""
        raise ConversionError(
            f"{mode} leaves operators in float: {found}; convert with {exempt}another mode, or "
            "rewrite the layer without them"
        )


def _check_weights(file: TFLiteFile, mode: str) -> None:
    promised = "float16" if mode == "float16" else "int8"
    if file.tensor_types.get(promised):
        return
    for operator in file.operators:
        for index in operator.inputs:
            tensor = file.tensors[index]
            large = tensor.constant and np.prod(tensor.shape) >= LARGE_WEIGHT
            if operator.kind in WEIGHTED and large and tensor.type == "float32":
                raise ConversionError(
                    f"the {mode} file holds float32 weights only ({tensor.name}, of shape "
                    f"{tensor.shape}); convert in mode 'float32', which is what this is"
                )
