"""Estimates of a file's latency that are always the same: they order candidates for the sampler.

A measured latency differs a little each time, and a sampler that was told measured figures would
propose other candidates each time. An estimate is read from the operators of the file. Processors
differ most in what int8 costs them, so there are several; a search takes the one that agrees best
with the first latencies it measures. They are not shown: what is reported is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from leankeras.runtime import TFLiteFile

OPERATOR_NS = 150.0
VALUE_NS = {"float32": 0.25, "int8": 0.15}  # per value written
FLOAT_NS = 0.015  # per multiplication, fitted to `signal` on an Intel with AVX-512
LANES = 16  # channels that a kernel computes at a time
KERNELS = ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL")


@dataclass(frozen=True)
class Processor:
    """What kernels with int8 weights cost.

    Attributes:
        product: nanoseconds per multiplication.
        row: and per position of the output, for each 64 channels.
    """

    product: float
    row: float = 0.0


PROCESSORS = (
    Processor(product=0.0002, row=25.0),  # with matrix tiles (AMX): a row costs what it costs
    Processor(product=0.3 * FLOAT_NS),  # with dot products of bytes
    Processor(product=0.8 * FLOAT_NS),  # without
)


def costs_of(path: Path) -> list[float]:
    """The estimates for a ``.tflite``, one for each of :data:`PROCESSORS`, in nanoseconds.

    Example:
        >>> amx, dot_products, plain = costs_of(Path("int8.tflite"))
    """
    file, totals = TFLiteFile(path), np.zeros(len(PROCESSORS))
    for operator in file.operators:
        result = file.result(operator)
        written = prod(result.shape)
        totals += OPERATOR_NS + VALUE_NS["int8" if "int8" in result.type else "float32"] * written
        if operator.kind not in KERNELS:
            continue
        weights = file.tensors[operator.inputs[1]]
        channels = max(1, result.shape[-1] if result.shape else 1)
        rows = written // channels
        depthwise = operator.kind == "DEPTHWISE_CONV_2D"
        read = prod(weights.shape[:-1] if depthwise else weights.shape[1:])
        products = rows * read * (-(-channels // LANES) * LANES)
        for index, processor in enumerate(PROCESSORS):
            if weights.type == "int8":
                totals[index] += processor.product * products
                totals[index] += processor.row * rows * -(-channels // 64)
            else:
                totals[index] += FLOAT_NS * products
    return totals.tolist()


def best_fit(costs: Sequence[Sequence[float]], us: Sequence[float]) -> int:
    """The processor whose estimates agree best with measured latencies, up to a factor.

    Args:
        costs: of each file, as :func:`costs_of` gives them.
        us: their measured latencies.
    """
    errors = np.log(np.asarray(costs)) - np.log(us)[:, None]
    return int(errors.std(axis=0).argmin())
