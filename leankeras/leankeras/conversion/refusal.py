"""A converter's error in one line: the operator, the layer, and what to do instead."""

import re
from collections.abc import Collection

from leankeras.errors import ConversionError
from leankeras.runtime import layer_of

OPERATOR = re.compile(r"'(?:tf|tfl)\.(\w+)' op")
INT16X8 = re.compile(r"Quantization to 16x8-bit not yet supported for op: '(\w+)'")
LOCATION = re.compile(r'"\w+:", "([^"@]+)')
FLOAT64 = re.compile(r'"\w+:", "([^"@]+)[^\n]*see current operation:[^\n]*f64>')


class Unsuited(ConversionError):
    """The model cannot be converted in this mode, but perhaps in another.

    Attributes:
        layers: the layers that the mode does not support, if they are known.
    """

    def __init__(self, message: str, layers: Collection[str] = ()) -> None:
        super().__init__(message)
        self.layers = list(layers)


def explain(text: str, layers: Collection[str] = ()) -> ConversionError:
    """Turn the converter's error, often hundreds of lines long, into a one-line error.

    Args:
        text: the text of the converter's exception.
        layers: paths of the model's layers; see :func:`leankeras.runtime.layer_of`.

    Example:
        >>> str(explain("'tf.Betainc' op is neither a custom op nor a flex op"))
        'TFLite has no operator Betainc; rewrite it with operators that TFLite has'
    """
    if unsupported := INT16X8.search(text):
        return Unsuited(f"int16x8 has no kernel for {unsupported.group(1)}")
    if "should be recorded during calibration" in text:
        return Unsuited("int16x8 cannot quantize a model with integer inputs")
    operators = sorted(set(OPERATOR.findall(text)))
    places = sorted({layer_of(name, layers) for name in LOCATION.findall(text)} - {""})
    where = f" (layer {', '.join(places)})" if places else ""
    if wide := FLOAT64.search(text):
        layer = layer_of(wide.group(1), layers)
        return ConversionError(
            f"{f'layer {layer}' if layer else 'the model'} computes in float64, for which TFLite "
            "has no operators; a NumPy number in it makes a tensor float64, as in x / np.sqrt(8.), "
            "so write float(np.sqrt(8.)), or cast to float32"
        )
    if any(name.startswith("TensorList") for name in operators):
        return ConversionError(
            f"a loop over timesteps{where} is not lowered; give leankeras.convert the Keras model, "
            "whose recurrent layers it unrolls, or write the loop without a TensorArray"
        )
    if operators == ["BitwiseAnd"]:
        return ConversionError(
            "keras.ops.argmax and argmin look for negative zeros with BitwiseAnd, an operator that "
            "TFLite does not have; use tf.argmax in a layer, or take the argmax outside the model"
        )
    if "neither a custom op nor a flex op" in text or "failed to legalize" in text:
        return ConversionError(
            f"TFLite has no operator {', '.join(operators)}{where}; rewrite it with operators that "
            "TFLite has"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    what = f"{', '.join(operators)}{where}: " if operators else ""
    message = lines[0].rpartition("): ")[2] if operators else " ".join(lines[:2])
    return ConversionError(f"the converter refused the model: {what}{message[:300]}")
