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

from leankeras.conversion import Arrays, Conversion
from leankeras.errors import ModelError
from leankeras.quantization.isolation import isolate
from leankeras.runtime import CASTS, LiteRTModel, TFLiteFile, dequantized, quantized

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
        >>> leankeras.convert(model, path, calibration=x, keep_float=list(errors.index[:2]))
    """
    float_path, int8_path = _path(float32), _path(int8)
    file = TFLiteFile(int8_path)
    names = _float_names(file)
    expected = _results(float_path, x)
    got = _results(int8_path, x)
    layers = list(int8.operators.layer) if isinstance(int8, Conversion) else file.operator_layers()
    compared = [
        position
        for position, operator in enumerate(file.operators)
        if operator.kind not in CASTS and names[operator.outputs[0]] in expected
    ]
    if not compared:
        raise ModelError(
            f"{int8_path} has no result in common with {float_path}; expected two conversions of "
            "one model, in modes 'float32' and 'int8'"
        )
    alone = _run_alone(file, compared, names, expected)
    rows = []
    for position in compared:
        output = file.operators[position].outputs[0]
        exact = expected[names[output]]
        rows.append(
            {
                "layer": layers[position],
                "operator": file.operators[position].kind,
                "own_error": _relative(alone.get(output), exact),
                "error": _relative(got[file.tensors[output].name], exact),
            }
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
    file: TFLiteFile, positions: list[int], names: dict[int, str], expected: dict[str, np.ndarray]
) -> dict[int, np.ndarray]:
    """Results of operators on the float file's values, by tensor; without those it lacks inputs of.

    Args:
        file: the int8 file.
        positions: the operators.
        names: what the float file calls the tensors.
        expected: the float file's values by those names, sample by sample.
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
    content, inputs = isolate(file, known)
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


def _relative(values: np.ndarray | None, exact: np.ndarray) -> float:
    if values is None:
        return float("nan")
    size = np.sqrt(np.mean(np.square(exact, dtype="float64")))
    difference = np.sqrt(np.mean(np.square(values - exact, dtype="float64")))
    return float(difference / size) if size else float(difference)
