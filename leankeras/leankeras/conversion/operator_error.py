"""The error of each operator of a converted file, against the float32 file of the same model.

There are two errors. The error of a result has accumulated up to that point. An operator's own
error is that of the operator alone, run on exact inputs, as in TensorFlow's quantization debugger
(https://ai.google.dev/edge/litert/models/quantization_debugger).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from leankeras.conversion.separate_operators import separate
from leankeras.conversion.signature import Arrays
from leankeras.runtime import CASTS, LiteRTModel, TFLiteFile, dequantized, quantized

MAX_SAMPLES = 16
MASK = 100.0


@dataclass(frozen=True)
class OperatorError:
    """The errors of one operator, each a root mean square relative to that of the float32 result.

    Attributes:
        position: the operator's place in the file.
        own: the error of the operator alone; NaN if it could not be run alone.
        error: the error of its result in the file.
        channel: the largest error of a channel of its result.
    """

    position: int
    own: float
    error: float
    channel: float


def operator_errors(float32: str | Path, other: str | Path, samples: Arrays) -> list[OperatorError]:
    """The errors of each operator whose result is in both files, in the order they run.

    Args:
        float32: the model converted in mode ``"float32"``.
        other: the same model converted in another mode.
        samples: inputs ``(n, ...)``; the first 16 are used.
    """
    file = TFLiteFile(other)
    names = _float_names(file)
    expected, got = _results(float32, samples), _results(other, samples)
    compared = [
        position
        for position, operator in enumerate(file.operators)
        if operator.kind not in CASTS
        and operator.outputs
        and names[operator.outputs[0]] in expected
    ]
    alone = _run_alone(file, compared, names, expected) if compared else {}
    errors = []
    for position in compared:
        output = file.operators[position].outputs[0]
        exact, values = expected[names[output]], got[file.tensors[output].name]
        own = _relative(alone[output], exact) if output in alone else float("nan")
        channel = _by_channel(alone.get(output, values), exact)
        errors.append(OperatorError(position, own, _relative(values, exact), channel))
    return errors


def _float_names(file: TFLiteFile) -> dict[int, str]:
    """The name of each tensor in the float32 file; needed because casts rename tensors."""
    names = {index: tensor.name for index, tensor in enumerate(file.tensors)}
    for operator in file.operators:
        source, result = operator.inputs[0], operator.outputs[0]
        if operator.kind == "DEQUANTIZE" and result in file.outputs.values():
            names[source] = names[result]
        elif operator.kind in CASTS:
            names[result] = names[source]
    return names


def _results(path: str | Path, samples: Arrays) -> dict[str, np.ndarray]:
    """Every result of a file by tensor name, with the samples along the first axis."""
    file = TFLiteFile(path)
    model = LiteRTModel(path, keep_tensors=True)
    wanted = set(file.inputs.values())
    wanted |= {index for operator in file.operators for index in operator.outputs}
    results: dict[str, list[np.ndarray]] = {file.tensors[index].name: [] for index in wanted}
    for sample in model.samples(samples, MAX_SAMPLES):
        model.interpreter.reset_all_variables()
        model.set_inputs(sample)
        model.invoke()
        for index in wanted:
            results[file.tensors[index].name].append(model.tensor(index))
    return {name: np.stack(values) for name, values in results.items()}


def _run_alone(
    file: TFLiteFile,
    positions: list[int],
    names: Mapping[int, str],
    expected: Mapping[str, np.ndarray],
) -> dict[int, np.ndarray]:
    """Results of operators on the float32 file's values, by tensor, if it has their inputs.

    Args:
        file: the file that holds them.
        positions: the operators.
        names: the names of the tensors in the float32 file.
        expected: the float32 file's values by those names, sample by sample.
    """
    known = [
        position
        for position in positions
        if all(
            names[index] in expected or file.tensors[index].constant or file.tensors[index].variable
            for index in file.operators[position].inputs
        )
    ]
    if not known:
        return {}
    content, inputs = separate(file, known)
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    entries = interpreter.get_input_details()
    outputs = {
        details["index"]: details
        for details in interpreter.get_output_details()
        if details["index"] in {file.operators[position].outputs[0] for position in known}
    }
    results: dict[int, list[np.ndarray]] = {index: [] for index in outputs}
    for k in range(len(next(iter(expected.values())))):
        interpreter.reset_all_variables()
        for entry in entries:
            values = expected[names[inputs[entry["index"]]]][k]
            interpreter.set_tensor(entry["index"], quantized(entry["name"], values, entry))
        interpreter.invoke()
        for index, details in outputs.items():
            results[index].append(dequantized(interpreter.get_tensor(index), details))
    return {index: np.stack(values) for index, values in results.items()}


def _relative(values: np.ndarray, exact: np.ndarray) -> float:
    seen = _unmasked(values, exact)
    exact, values = exact[seen], values[seen]
    size = np.sqrt(np.mean(np.square(exact, dtype="float64")))
    difference = np.sqrt(np.mean(np.square(_apart(values, exact))))
    return float(difference / size) if size else float(difference)


def _by_channel(values: np.ndarray, exact: np.ndarray) -> float:
    if exact.ndim < 3:  # a sample without a channel axis in addition to the batch axis
        return _relative(values, exact)
    axes = tuple(range(exact.ndim - 1))
    seen = _unmasked(values, exact)
    sizes = np.sqrt(np.mean(np.square(np.where(seen, exact, 0), dtype="float64"), axis=axes))
    apart = np.sqrt(np.mean(np.square(np.where(seen, _apart(values, exact), 0)), axis=axes))
    return float(np.max(np.divide(apart, sizes, out=np.zeros_like(apart), where=sizes > 0)))


def _apart(values: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The difference as float64: booleans have none of their own, and unsigned integers wrap."""
    return np.subtract(values, exact, dtype="float64")


def _unmasked(values: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The values of a result that count: not masked ones, whose depth differs in int8 files."""
    masked = exact <= -MASK
    if masked.all() or not masked.any() or values[masked].max() >= values[~masked].min():
        return np.ones_like(masked)
    return ~masked
