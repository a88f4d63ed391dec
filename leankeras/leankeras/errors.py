"""Every error a user can cause or act on, and errors of other packages in one line.

A message is one line: what was seen, what was expected, what to do.
"""

import re

FRAMES = (
    "Exception encountered when calling",
    "Could not automatically infer the output",
    "in user",
)


class KoptError(Exception):
    """Base of all errors that leankeras and kopt raise on purpose.

    Attributes:
        exit_code: the exit code of a command that ends with this error.
    """

    exit_code = 2


class MissingPackageError(KoptError):
    """A call needs a package that a bare installation leaves out."""


class ParameterError(KoptError):
    """A parameter has an unknown name, a wrong type or a value out of range."""


class DataError(KoptError):
    """Arrays that cannot be used to train, calibrate or score."""


class ModelError(KoptError):
    """A model or layer that cannot be used as requested."""


class TwinError(ModelError):
    """A Keras 3 model has no tf_keras twin, or the twin computes something else."""


class ConversionError(KoptError):
    """The converter crashed, refused the model, or wrote a file other than requested."""


class EquivalenceError(KoptError):
    """Two layers cannot be compared, or a rewrite that must be equal is not."""


class RewriteError(KoptError):
    """A layer that cannot be rewritten, or that gains nothing by it."""


class MeasurementError(KoptError):
    """A requested latency cannot be measured."""


class DeviceError(KoptError):
    """A device that cannot be reached or used, or on which a file does not do what it does here."""


class JobError(Exception):
    """A job raised in a child process; the text is the exception's type and message."""


def one_line(error: BaseException) -> str:
    """The line of an error that says what was wrong, without the frames around it.

    Its type comes first, unless it is one of the errors above, whose texts say enough.

    Args:
        error: any exception from a user's layer, Keras or TensorFlow.
    """
    text = re.sub(r"\x1b\[[0-9;]*m|\{\{.*?\}\} *", "", str(error))
    # Keras puts a whole config before the actual error.
    text = text.rpartition("Exception encountered: ")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(FRAMES)] or lines
    if said and isinstance(error, KoptError | JobError):
        return said[0][:300]
    return f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__
