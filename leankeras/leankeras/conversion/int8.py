"""Post-training quantization to int8, in steps: calibrate, correct, quantize.

TensorFlow's converter does the same in one step (https://ai.google.dev/edge/litert/models/
post_training_integer_quant), and gets some of it wrong; each correction is explained where it is
made. Only the child process imports this module.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert as converter_api
from tensorflow.lite.python.optimize import calibrator

from leankeras.conversion.biases import rescale_biases
from leankeras.conversion.legalization import legalize
from leankeras.conversion.masks import limit_masks
from leankeras.conversion.requantization import restore_ranges
from leankeras.conversion.resolution import COMPUTING, widen_ranges
from leankeras.conversion.tflite_graph import TFLiteGraph
from leankeras.runtime import TFLiteFile, is_within

IO_TYPES = {"int8": tf.float32, "int8-io": tf.int8, "uint8-io": tf.uint8}


def quantize(
    converter: tf.lite.TFLiteConverter,
    samples: Callable[[], Iterable[dict[str, np.ndarray]]],
    output: Path,
    mode: str,
    layers: Iterable[str],
    output_layers: dict[str, str],
    keep_float: Iterable[str],
) -> list[str]:
    """Quantize a model to int8 and write it.

    Args:
        converter: the model's converter.
        samples: yields the calibration samples one by one, as arrays by input name.
        output: where the .tflite goes.
        mode: ``"int8"``, ``"int8-io"`` or ``"uint8-io"``.
        layers: paths of the model's layers in its operations' names.
        output_layers: output name to the operation that computes it.
        keep_float: layers not to quantize.

    Returns:
        The layers whose output is zero on every calibration sample.
    """
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = samples
    converter._experimental_calibrate_only = True
    converter._quantize = lambda content, *_: _calibrate(content, samples)
    graph = TFLiteGraph(converter.convert())
    limit_masks(graph)
    silent = {id(operator) for operator in widen_ranges(graph)}
    output.write_bytes(graph.pack())
    file = TFLiteFile(output)
    named = file.operator_layers(layers, output_layers)
    kept = [
        file.result(operator).name
        for operator, layer in zip(file.operators, named, strict=True)
        if is_within(layer, keep_float)
    ]

    def lower(content: bytes) -> bytes:
        io_type = IO_TYPES[mode]
        return converter_api.mlir_quantize(
            content, input_data_type=io_type, output_data_type=io_type, denylisted_nodes=kept
        )

    restored = restore_ranges(file.content, lower(file.content), lower)
    output.write_bytes(rescale_biases(restored))
    # A layer's last result counts: the first steps of a recurrence may be zero by themselves.
    last = {
        layer: id(operator)
        for operator, layer in zip(graph.operators, named, strict=True)
        if layer and graph.kind(operator) in COMPUTING
    }
    return sorted(layer for layer, operator in last.items() if operator in silent)


def _calibrate(content: bytes, samples: Callable[[], Iterable[dict[str, np.ndarray]]]) -> bytes:
    """Legalize a float .tflite and put the range of each activation in it.

    TensorFlow's calibrator reads the inputs of an operator after it has run. If the result has
    overwritten its input, as in sums and products to save memory, it mistakes the range of the one
    for that of the other: scores to which a mask of -1e9 is added seem to reach down to -1e9. An
    output of the whole file is never overwritten, so every tensor that could be is made an output.
    """
    graph = TFLiteGraph(calibrator.add_intermediate_tensors(content))
    legalize(graph)
    outputs = graph.outputs
    graph.outputs = outputs + [index for index in _overwritten(graph) if index not in outputs]
    calibrated = TFLiteGraph(calibrator.Calibrator(graph.pack()).calibrate(samples))
    calibrated.outputs = outputs
    return calibrated.pack()


def _overwritten(graph: TFLiteGraph) -> list[int]:
    """The tensors that their only reader could overwrite with its own result."""
    made = {int(index) for operator in graph.operators for index in operator.outputs}
    readers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in {int(index) for index in operator.inputs} & made:
            readers.setdefault(index, []).append(operator)
    return [
        index
        for index, reading in readers.items()
        if len(reading) == 1
        and any(
            np.array_equal(graph.tensors[index].shape, graph.tensors[output].shape)
            for output in reading[0].outputs[:1]
        )
    ]
