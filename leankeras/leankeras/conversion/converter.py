"""The child process for conversions, kept running and replaced when it dies.

The converter is C++ code that can crash, and importing TensorFlow takes seconds. One child
therefore serves all requests of this process, which only sees an error message if it dies.
"""

import atexit
from typing import Any

from leankeras.child import Child, ChildDied, ChildTimeout
from leankeras.errors import ConversionError

TIMEOUT_SECONDS = 900
MEMORY = 2e9  # bytes that the child may keep; it starts with 0.7e9, and large models leave more
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
}


class Converter(Child):
    """A child that runs the functions of :mod:`leankeras.conversion.child_jobs`.

    Args:
        timeout: seconds a job may take before the child is killed.
    """

    def __init__(self, timeout: float = TIMEOUT_SECONDS) -> None:
        super().__init__("leankeras.conversion.child_jobs", ENVIRONMENT, timeout, MEMORY)

    def request(self, job: str, **arguments: Any) -> Any:
        """Like :meth:`Child.request`; raises a ConversionError if the child dies or times out."""
        try:
            return super().request(job, **arguments)
        except ChildTimeout as error:
            raise ConversionError(
                f"the converter {error}; try a smaller model or fewer calibration samples"
            ) from None
        except ChildDied as death:
            said = f"; last output: {death.last_words}" if death.last_words else ""
            raise ConversionError(
                f"the converter {death} on this model; try mode 'float32', or the model without "
                "its custom layers or loops. This process is unaffected; the next conversion "
                f"starts a new converter{said}"
            ) from None


shared = Converter()
atexit.register(shared.close)


def warm_converter() -> None:
    """Start the shared child in the background, so the first conversion need not wait for it."""
    shared.warm()
