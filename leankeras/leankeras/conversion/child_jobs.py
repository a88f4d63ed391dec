"""The jobs of the child process: everything that runs the converter or a file from it.

Only :mod:`leankeras.child` imports this module. Arguments and results are values that JSON can
hold; arrays are passed as ``.npz`` files.
"""

import math
import sys
import time
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from leankeras.arrays import read_arrays, write_arrays
from leankeras.conversion import origin
from leankeras.conversion.biases import rescale_biases
from leankeras.conversion.export import run_model
from leankeras.conversion.int8 import IO_TYPES, quantize
from leankeras.conversion.operator_error import operator_errors
from leankeras.runtime import LiteRTModel, TFLiteFile, prefix

SIGNATURE = "serving_default"
FEW = 4
ONNX_OPSET = 18  # the newest that tf2onnx writes
INT16X8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8

# The calibrator inside the converter still uses the interpreter that it calls deprecated.
warnings.filterwarnings("ignore", message="(?s).*tf.lite.Interpreter is deprecated")


def describe(directory: str) -> dict:
    """A SavedModel's serving signature.

    Returns:
        ``inputs``: name to ``[shape, dtype]``, open dimensions ``None``; ``quantized``: whether
        the graph holds fake quantization.
    """
    loaded = tf.saved_model.load(directory)
    if SIGNATURE not in loaded.signatures:
        raise ValueError(
            f"it has no signature {SIGNATURE!r}; it has {', '.join(loaded.signatures) or 'none'}"
        )
    signature = loaded.signatures[SIGNATURE]
    graph = signature.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return {
        "inputs": {
            name: [spec.shape.as_list() if spec.shape.rank is not None else None, spec.dtype.name]
            for name, spec in signature.structured_input_signature[1].items()
        },
        "quantized": any(node.op.startswith("FakeQuant") for node in nodes),
    }


def fix_shapes(directory: str, shapes: dict[str, list[int]], output: str) -> None:
    """Rewrite a SavedModel with one signature of fixed shapes."""
    holder = tf.Module()
    holder.loaded = tf.saved_model.load(directory)
    holder.serve = _serving(holder.loaded, shapes)
    function = holder.serve.get_concrete_function()
    tf.saved_model.save(holder, output, signatures={SIGNATURE: function})


def lower(
    directory: str,
    output: str,
    mode: str,
    calibration: str | None,
    layers: list[str],
    output_layers: dict[str, str],
    keep_float: list[str],
) -> list[str]:
    """Convert a SavedModel at batch 1 to a .tflite.

    Args:
        directory: the SavedModel.
        output: where the .tflite goes.
        mode: one of :data:`leankeras.modes.MODES`.
        calibration: an ``.npz`` with an array for each input, or None.
        layers: paths of the model's layers in its operations' names.
        output_layers: output name to the operation that computes it.
        keep_float: layers not to quantize, as :func:`layer_of` names them.

    Returns:
        In int8 modes with calibration, the layers whose output is zero on every sample.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=[SIGNATURE])
    if mode != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode == "int16x8":
        converter.target_spec.supported_ops = [INT16X8]
    if mode in IO_TYPES and calibration is not None:
        samples = partial(_samples, calibration)
        return quantize(converter, samples, Path(output), mode, layers, output_layers, keep_float)
    if calibration is not None:
        converter.representative_dataset = partial(_samples, calibration)
    # Without calibration, an int8 mode is for a quantization-aware model, which has ranges.
    io_type = IO_TYPES.get(mode, tf.float32)
    converter.inference_input_type = converter.inference_output_type = io_type
    content = converter.convert()
    Path(output).write_bytes(rescale_biases(content) if mode in IO_TYPES else content)
    return []


def write_onnx(directory: str, output: str) -> list[list[str]]:
    """Convert a SavedModel to ONNX, with inputs and outputs named as in its signature.

    Returns:
        Kind and name of each operation that ONNX has no operator for.
    """
    import onnx
    import tf2onnx

    loaded = tf.saved_model.load(directory)
    # Retraced, since a loaded signature has lost the names of its outputs.
    function = _Frozen(_serving(loaded, {}).get_concrete_function())
    written, _ = tf2onnx.convert.from_function(
        SimpleNamespace(get_concrete_function=lambda: function),
        input_signature=(),
        opset=ONNX_OPSET,
        custom_op_handlers={"Erfc": (_write_erfc, [])},
        output_path=output,
    )
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    return [[node.op_type, node.name] for node in written.graph.node if node.op_type not in known]


def run_saved_model(path: str, samples: str, output: str, seconds: float = math.inf) -> None:
    """Run a SavedModel's signature sample by sample; results go to an ``.npz`` by output name.

    Args:
        path: the SavedModel.
        samples: an ``.npz`` with an array for each input.
        output: where the results go.
        seconds: after this time no further sample is started, except for the first few.
    """
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures[SIGNATURE]
    runs = [
        {name: value.numpy() for name, value in signature(**_constants(sample)).items()}
        for sample in _within(seconds, _samples(samples))
    ]
    write_arrays(output, {name: np.concatenate([run[name] for run in runs]) for name in runs[0]})


def run_keras(
    path: str, modules: list[str], search_path: list[str], structure: Any, samples: str, output: str
) -> None:
    """Load a ``.keras`` or ``.h5`` file in safe mode and run it sample by sample.

    Args:
        path: the file.
        modules: modules that define its custom layers.
        search_path: the directories to search for those modules.
        structure: the nesting of the model's inputs, with their names as leaves.
        samples: an ``.npz`` with an array for each input.
        output: where the results go, an ``.npz`` by output name.
    """
    sys.path.extend(entry for entry in search_path if entry not in sys.path)
    for module in modules:
        import_module(module)
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    write_arrays(output, run_model(model, structure, read_arrays(samples)))


def run_tflite(path: str, samples: str, output: str, seconds: float = math.inf) -> None:
    """Run a .tflite like :func:`run_saved_model`."""
    model = LiteRTModel(path)
    runs = []
    for sample in _within(seconds, _samples(samples)):
        model.interpreter.reset_all_variables()
        model.set_inputs(sample)
        model.invoke()
        runs.append(model.outputs())
    write_arrays(output, {name: np.concatenate([run[name] for run in runs]) for name in runs[0]})


def failing_operator(path: str) -> int | None:
    """The place of the operator that prevents LiteRT from loading a .tflite, or None."""
    file = TFLiteFile(path)

    def fails(size: int) -> bool:
        try:
            Interpreter(model_content=prefix(file, size)).allocate_tensors()
        except (RuntimeError, ValueError):
            return True
        return False

    place = bisect_left(range(1, len(file.operators) + 1), True, key=fails)
    return place if place < len(file.operators) else None


def measure_operators(float32: str, other: str, samples: str) -> list[list[float]]:
    """The :func:`operator_errors`, each as a row of ``position, own, error, channel``."""
    errors = operator_errors(float32, other, read_arrays(samples))
    return [
        [each.position, *np.nan_to_num([each.own, each.error, each.channel]).tolist()]
        for each in errors
    ]


def first_difference(directory: str, path: str, samples: str, limit: float) -> int | None:
    """The :func:`.origin.first_difference` for the signature of a SavedModel."""
    loaded = tf.saved_model.load(directory)
    return origin.first_difference(loaded.signatures[SIGNATURE], path, read_arrays(samples), limit)


def run_onnx(path: str, samples: str, output: str) -> None:
    """Run an ``.onnx`` as one batch in ONNX Runtime; results go to an ``.npz`` by output name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    results = session.run(names, read_arrays(samples))
    write_arrays(output, dict(zip(names, results, strict=True)))


class _Frozen:
    """A function with its constants inlined and its original names of inputs and outputs.

    Otherwise tf2onnx would take captured tensors (the mean of a Normalization) for inputs.
    """

    def __init__(self, function: Any) -> None:
        self._frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
        self.structured_input_signature = function.structured_input_signature
        names = sorted(function.structured_outputs)
        self.structured_outputs = dict(zip(names, self._frozen.outputs, strict=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frozen, name)


def _write_erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Write the complementary error function, which every GELU uses and tf2onnx does not know."""
    one = context.make_const(f"{name}/one", np.ones((), np.float32)).output[0]
    shape, dtype = context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    context.remove_node(node.name)
    erf = context.make_node("Erf", [node.input[0]], shapes=[shape], dtypes=[dtype])
    context.make_node(
        "Sub", [one, erf.output[0]], outputs=node.output, shapes=[shape], dtypes=[dtype]
    )


def _serving(
    loaded: Any, shapes: dict[str, list[int]]
) -> tf.types.experimental.PolymorphicFunction:
    """A loaded SavedModel's signature as a function of a dict, some inputs with other shapes."""
    signature = loaded.signatures[SIGNATURE]
    specs = {
        name: tf.TensorSpec(shapes.get(name, spec.shape), spec.dtype, name=name)
        for name, spec in signature.structured_input_signature[1].items()
    }

    @tf.function(input_signature=[specs], autograph=False)
    def serve(arrays: dict) -> dict:
        return signature(**arrays)

    return serve


def _samples(path: str) -> Iterator[dict[str, np.ndarray]]:
    arrays = read_arrays(path)
    for index in range(len(next(iter(arrays.values())))):
        yield {name: array[index : index + 1] for name, array in arrays.items()}


def _within(seconds: float, samples: Iterable[Any]) -> Iterator[Any]:
    """The first few samples, and more while there is time."""
    began = time.perf_counter()
    for count, sample in enumerate(samples):
        if count >= FEW and time.perf_counter() - began > seconds:
            return
        yield sample


def _constants(sample: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(array) for name, array in sample.items()}
