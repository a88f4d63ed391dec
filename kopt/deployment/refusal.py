"""What a converter's error says, in one line: the operator, the layer, and the way out."""

import re
from collections.abc import Collection

from kopt.deployment.flatbuffer import layer_of

FLEX = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
NAMED = re.compile(r'"(?:\w+:)?\s*([\w./-]+)(?:@[^"]*)?"')


def explain(text: str, layers: Collection[str] = ()) -> str:
    """Turn the converter's error, often of hundreds of lines, into one line.

    Args:
        text: what the converter raised.
        layers: paths of the model's layers, see :func:`kopt.deployment.flatbuffer.layer_of`.
    """
    operators = sorted(set(FLEX.findall(text)))
    if operators:
        places = sorted({layer_of(name, layers) for name in NAMED.findall(text) if layers} - {""})
        where = f" of layer {', '.join(places)}" if places else ""
        return (
            f"TFLite has no operator {', '.join(operators)}{where}; rewrite it with operators "
            "that TFLite has (kopt.diagnose shows patterns)"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"the converter refused the model: {' '.join(lines[:2])[:400]}"
