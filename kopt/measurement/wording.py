"""Other people's errors, said in one line."""

import re

FRAMES = (
    "Exception encountered when calling",
    "Could not automatically infer the output",
    "in user",
)


def one_line(error: BaseException) -> str:
    """The line of an error that says what was wrong, without the frames put around it.

    Args:
        error: whatever a user's layer, Keras or TensorFlow raised.
    """
    text = re.sub(r"\x1b\[[0-9;]*m|\{\{.*?\}\} *", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(FRAMES)] or lines
    return f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__
