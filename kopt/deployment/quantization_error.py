"""Where an int8 file loses accuracy: its error by Keras layer, against the float32 file.

Two errors are told apart. The error of a result is what has gathered up to there. An operator's
own error is that of the operator alone, run in int8 on exact inputs, as TensorFlow's quantization
debugger has it (https://ai.google.dev/edge/litert/models/quantization_debugger); the layers where
it is largest are the ones to name in ``keep_float``.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from kopt.deployment.flatbuffer import CASTS, TFLiteFile
from kopt.deployment.inputs import Arrays
from kopt.deployment.litert import LiteRTModel, dequantized, quantized
from kopt.deployment.tflite import Conversion
from kopt.errors import ModelError

MAX_SAMPLES = 16


def quantization_error(
    float32: Conversion | str | Path, int8: Conversion | str | Path, x: Arrays
) -> pd.DataFrame:
    """The error of each layer of an int8 file.

    Args:
        float32: the model converted in mode ``"float32"``: a Conversion, which knows the layers'
            full names, or a path.
        int8: the same model converted in an int8 mode.
        x: samples ``(n, ...)``, of which the first 16 are used.

    Returns:
        One row for each layer, the largest ``own_error`` first: ``own_error`` and ``error``, each
        the root mean square of the difference divided by that of the float result (0.01 is 1 %),
        of the layer's worst operator; ``operators``, their kinds.

    Raises:
        ModelError: the two files are not conversions of one model.

    Example:
        >>> errors = quantization_error(float_conversion, int8_conversion, data.x_test)
        >>> kopt.convert(model, path, calibration=x, keep_float=list(errors.index[:2]))
    """
    float_path, int8_path = _path(float32), _path(int8)
    file = TFLiteFile(int8_path)
    names = _float_names(file)
    expected = _results(float_path, x)
    got = _results(int8_path, x)
    layers = list(int8.operators.layer) if isinstance(int8, Conversion) else file.operator_layers()
    rows = []
    for position, (operator, layer) in enumerate(zip(file.operators, layers, strict=True)):
        output = operator.outputs[0]
        exact = expected.get(names[output])
        if operator.kind in CASTS or exact is None:
            continue
        rows.append(
            {
                "layer": layer,
                "operator": operator.kind,
                "own_error": _relative(_run_alone(file, position, names, expected), exact),
                "error": _relative(got[file.tensors[output].name], exact),
            }
        )
    if not rows:
        raise ModelError(
            f"{int8_path} has no result in common with {float_path}; expected two conversions of "
            "one model, in modes 'float32' and 'int8'"
        )
    table = pd.DataFrame(rows).groupby("layer", sort=False)
    return table.agg(
        own_error=("own_error", "max"),
        error=("error", "max"),
        operators=("operator", lambda kinds: ", ".join(dict.fromkeys(kinds))),
    ).sort_values("own_error", ascending=False)


def _path(conversion: Conversion | str | Path) -> Path:
    return conversion.path if isinstance(conversion, Conversion) else Path(conversion)


def _float_names(file: TFLiteFile) -> dict[int, str]:
    """The name that each tensor of an int8 file has in the float file: casts rename tensors."""
    names = {index: tensor.name for index, tensor in enumerate(file.tensors)}
    for operator in file.operators:
        source, result = operator.inputs[0], operator.outputs[0]
        if operator.kind == "DEQUANTIZE" and result in file.outputs.values():
            names[source] = names[result]
        elif operator.kind in CASTS:
            names[result] = names[source]
    return names


def _results(path: Path, x: Arrays) -> dict[str, np.ndarray]:
    """Every result of a file by tensor name, sample by sample along the first axis."""
    file = TFLiteFile(path)
    model = LiteRTModel(path, keep_tensors=True)
    wanted = set(file.inputs.values())
    wanted |= {index for operator in file.operators for index in operator.outputs}
    results: dict[str, list[np.ndarray]] = {file.tensors[index].name: [] for index in wanted}
    for sample in model.samples(x, MAX_SAMPLES):
        model.interpreter.reset_all_variables()
        model.set_inputs(sample)
        model.invoke()
        for index in wanted:
            results[file.tensors[index].name].append(model.tensor(index))
    return {name: np.stack(values) for name, values in results.items()}


def _run_alone(
    file: TFLiteFile, position: int, names: dict[int, str], expected: dict[str, np.ndarray]
) -> np.ndarray | None:
    """One operator's result on the float file's values, or None where one of them is missing."""
    interpreter = Interpreter(
        model_content=file.section(position, position + 1),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    inputs = interpreter.get_input_details()
    if any(names[details["index"]] not in expected for details in inputs):
        return None
    output = file.operators[position].outputs[0]
    details = next(d for d in interpreter.get_output_details() if d["index"] == output)
    runs = []
    for k in range(len(expected[names[output]])):
        for entry in inputs:
            values = expected[names[entry["index"]]][k]
            interpreter.set_tensor(entry["index"], quantized(entry["name"], values, entry))
        interpreter.invoke()
        runs.append(dequantized(interpreter.get_tensor(output), details))
    return np.stack(runs)


def _relative(values: np.ndarray | None, exact: np.ndarray) -> float:
    if values is None:
        return float("nan")
    size = np.sqrt(np.mean(np.square(exact, dtype="float64")))
    difference = np.sqrt(np.mean(np.square(values - exact, dtype="float64")))
    return float(difference / size) if size else float(difference)
