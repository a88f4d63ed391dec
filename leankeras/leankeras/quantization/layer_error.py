"""Where an int8 file loses accuracy: its error by Keras layer, against the float32 file.

There are two errors. The error of a result has accumulated up to that point. An operator's own
error is that of the operator alone, run in int8 on exact inputs, as in TensorFlow's quantization
debugger (https://ai.google.dev/edge/litert/models/quantization_debugger); the layers where it is
largest are the ones to name in ``keep_float``.
"""

from pathlib import Path

import pandas as pd

from leankeras.conversion import Arrays, Conversion, operator_errors
from leankeras.errors import ModelError
from leankeras.runtime import TFLiteFile


def quantization_error(
    float32: Conversion | str | Path, int8: Conversion | str | Path, x: Arrays
) -> pd.DataFrame:
    """The error of each layer of an int8 file.

    Args:
        float32: the model converted in mode ``"float32"``: a Conversion, which knows the layers'
            full names, or a path.
        int8: the same model converted in an int8 mode.
        x: samples ``(n, ...)``; the first 16 are used.

    Returns:
        One row for each layer, the largest ``own_error`` first: ``own_error`` and ``error`` of the
        layer's worst operator, each the root mean square of the difference divided by that of the
        float result (0.01 is 1 %); ``operators``, the kinds of its operators.

    Raises:
        ModelError: the two files are not conversions of one model.

    Example:
        >>> errors = quantization_error(float_conversion, int8_conversion, data.x_test)
        >>> leankeras.convert(model, path, calibration=x, keep_float=list(errors.index[:2]))
    """
    float_path, int8_path = _path(float32), _path(int8)
    file = TFLiteFile(int8_path)
    layers = list(int8.operators.layer) if isinstance(int8, Conversion) else file.operator_layers()
    errors = operator_errors(float_path, int8_path, x)
    if not errors:
        raise ModelError(
            f"{int8_path} has no result in common with {float_path}; expected two conversions of "
            "one model, in modes 'float32' and 'int8'"
        )
    rows = [
        {
            "layer": layers[each.position],
            "operator": file.operators[each.position].kind,
            "own_error": each.own,
            "error": each.error,
        }
        for each in errors
    ]
    table = pd.DataFrame(rows).groupby("layer", sort=False)
    return table.agg(
        own_error=("own_error", "max"),
        error=("error", "max"),
        operators=("operator", lambda kinds: ", ".join(dict.fromkeys(kinds))),
    ).sort_values("own_error", ascending=False)


def _path(conversion: Conversion | str | Path) -> Path:
    return conversion.path if isinstance(conversion, Conversion) else Path(conversion)
