"""An estimate of a file's latency that is always the same: it orders candidates for the sampler.

A measured latency differs a little each time, and a sampler that was told measured figures would
propose other candidates each time. What is decided and reported is measured; this is not shown.
The constants were fitted to files of the cases here on an Intel with AVX-512 and AMX; only their
ratios matter.
"""

from math import prod
from pathlib import Path

from leankeras.runtime import TFLiteFile

OPERATOR_NS = 150.0
MAC_NS = {"float32": 0.02, "int8": 0.006}  # per multiplication
VALUE_NS = {"float32": 0.25, "int8": 0.15}  # per value written
LANES = 16  # channels that a kernel computes at a time
KERNELS = ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL")


def cost_of(path: Path) -> float:
    """The estimate for a ``.tflite``, in nanoseconds of no particular machine.

    Example:
        >>> cost_of(Path("int8.tflite")) < cost_of(Path("float32.tflite"))
        True
    """
    file, total = TFLiteFile(path), 0.0
    for operator in file.operators:
        result = file.result(operator)
        kind = "int8" if result.type in ("int8", "uint8") else "float32"
        written = prod(result.shape)
        total += OPERATOR_NS + VALUE_NS[kind] * written
        if operator.kind in KERNELS:
            weights = file.tensors[operator.inputs[1]].shape
            channels = result.shape[-1] if result.shape else 1
            rows = written // max(1, channels)
            depthwise = operator.kind == "DEPTHWISE_CONV_2D"
            read = prod(weights[:-1] if depthwise else weights[1:])
            total += MAC_NS[kind] * rows * read * (-(-channels // LANES) * LANES)
    return total
