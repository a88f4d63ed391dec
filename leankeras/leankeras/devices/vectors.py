"""Test vectors: inputs for a file in its own types, and what it answers on this machine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leankeras.arrays import Arrays
from leankeras.errors import ModelError
from leankeras.runtime import LiteRTModel, TFLiteFile, quantized

LIMIT = 16  # vectors, unless told otherwise


@dataclass(frozen=True)
class Vectors:
    """Inputs and expected outputs of a ``.tflite``, by the index of the tensor, in its order.

    Attributes:
        inputs: tensor index to samples in the file's own type, ``(n, ...)``.
        outputs: tensor index to what the file answers here, in the file's own type.
        names: tensor index to the name of the output.
    """

    inputs: dict[int, np.ndarray]
    outputs: dict[int, np.ndarray]
    names: dict[int, str]

    def save(self, path: Path) -> None:
        """Write them as the ``.npz`` that :mod:`leankeras.devices.trial` reads."""
        sides = {"input": self.inputs, "output": self.outputs}
        named = {f"{side}_{k}": a for side, arrays in sides.items() for k, a in arrays.items()}
        np.savez(path, **named)


def make_vectors(file: str | Path, samples: Arrays, limit: int = LIMIT) -> Vectors:
    """Run a file here on the first samples.

    Args:
        file: the ``.tflite``.
        samples: floats, or values in the file's own type; as :class:`LiteRTModel` takes them.
        limit: how many samples to use at most.

    Raises:
        ModelError: it is not a .tflite, or not one that a device can run.
        DataError: the samples do not fit it.
    """
    check_operators(file)
    model = LiteRTModel(file)
    interpreter = model.interpreter
    inputs: dict[int, list] = {entry["index"]: [] for entry in interpreter.get_input_details()}
    outputs: dict[int, list] = {entry["index"]: [] for entry in interpreter.get_output_details()}
    for sample in model.samples(samples, limit):
        for name, entry in model.input_details.items():
            inputs[entry["index"]].append(quantized(name, sample[name], entry))
        interpreter.reset_all_variables()
        model.set_inputs(sample)
        model.invoke()
        for index, runs in outputs.items():
            runs.append(interpreter.get_tensor(index))
    return Vectors(
        {index: np.concatenate(arrays) for index, arrays in inputs.items()},
        {index: np.stack(arrays) for index, arrays in outputs.items()},
        {entry["index"]: name for name, entry in model.output_details.items()},
    )


def check_operators(file: str | Path) -> TFLiteFile:
    """Open a file and refuse it if it needs TensorFlow's own operators.

    Raises:
        ModelError: it is not a .tflite, or has Flex operators.
    """
    opened = TFLiteFile(file)
    flex = sorted(kind for kind in opened.kinds if kind.startswith("Flex"))
    if flex:
        raise ModelError(
            f"{file}: contains {', '.join(flex)}, operators of TensorFlow itself, which devices "
            "do not have; convert the model with leankeras.convert, which avoids them"
        )
    return opened
