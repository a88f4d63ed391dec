"""What a converter's error says, in one line: the operator, the layer, and the way out."""

import re
from collections.abc import Collection

from leankeras.runtime import layer_of

OPERATOR = re.compile(r"'(?:tf|tfl)\.(\w+)' op")
INT16X8 = re.compile(r"Quantization to 16x8-bit not yet supported for op: '(\w+)'")
LOCATION = re.compile(r'"\w+:", "([^"@]+)')


def explain(text: str, layers: Collection[str] = ()) -> str:
    """Turn the converter's error, often of hundreds of lines, into one line.

    Args:
        text: what the converter raised.
        layers: paths of the model's layers, see :func:`leankeras.runtime.flatbuffer.layer_of`.

    Example:
        >>> explain("'tf.Betainc' op is neither a custom op nor a flex op")
        'TFLite has no operator Betainc; rewrite it with operators that TFLite has'
    """
    if unsupported := INT16X8.search(text):
        return (
            f"int16x8 has no kernel for {unsupported.group(1)}; convert in mode 'int8' or 'float16'"
        )
    if "should be recorded during calibration" in text:
        return (
            "int16x8 cannot quantize a model with integer inputs; convert in mode 'int8' or "
            "'float16'"
        )
    operators = sorted(set(OPERATOR.findall(text)))
    places = sorted({layer_of(name, layers) for name in LOCATION.findall(text)} - {""})
    where = f" (layer {', '.join(places)})" if places else ""
    if any(name.startswith("TensorList") for name in operators):
        return (
            f"a loop over timesteps{where} is not lowered; give leankeras.convert the Keras model, "
            "whose recurrent layers it unrolls, or write the loop without a TensorArray"
        )
    if "neither a custom op nor a flex op" in text or "failed to legalize" in text:
        return (
            f"TFLite has no operator {', '.join(operators)}{where}; rewrite it with operators that "
            "TFLite has"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    what = f"{', '.join(operators)}{where}: " if operators else ""
    message = lines[0].rpartition("): ")[2] if operators else " ".join(lines[:2])
    return f"the converter refused the model: {what}{message[:300]}"
