"""Anything that can be converted, in one common form: a SavedModel at batch 1."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from leankeras.arrays import read_arrays, write_arrays
from leankeras.child import JobError
from leankeras.conversion import converter
from leankeras.conversion.export import Export, export_model
from leankeras.conversion.signature import (
    Arrays,
    InputSpec,
    concrete_shape,
    model_inputs,
    named_arrays,
)
from leankeras.conversion.weight_checks import check_bytes, check_finite, check_size
from leankeras.errors import ConversionError, one_line
from leankeras.runtime import load_keras


@dataclass(frozen=True)
class Source:
    """A model that has passed all checks possible before tracing it.

    Attributes:
        inputs: the inputs by name, with concrete shapes.
        quantized: whether it holds fake quantization, and so the ranges of its activations.
        export: writes it as a SavedModel with one signature at batch 1.
    """

    inputs: dict[str, InputSpec]
    quantized: bool
    export: Callable[[], Export]


def open_source(target: Any, scratch: Path, samples: Arrays | None = None) -> Source:
    """Find out the inputs of a model, leaving the work of tracing it to ``export()``.

    Args:
        target: a Keras 3 model, a Keras model file, a SavedModel directory, or an object whose
            ``export(directory)`` writes one.
        scratch: a directory for temporary files.
        samples: the user's samples; they make open dimensions concrete.

    Raises:
        ConversionError: not a model, or one that cannot be converted: not built, with an open
            shape, with NaN weights, or over 2 GB.
        ModelError: the file is not of the kind its name says, or Keras refuses it in safe mode.
    """
    if isinstance(target, str | Path):
        path = Path(target)
        if path.is_dir():
            # The child that reads it may have started in another working directory.
            return _open_saved_model(path.resolve(), scratch, samples)
        target = load_keras(path)
    if isinstance(target, keras.Model):
        inputs, structure = model_inputs(target, samples)
        check_size(target, ".tflite")
        check_finite(target)
        return Source(
            inputs, False, partial(export_model, target, scratch / "exported", inputs, structure)
        )
    if not isinstance(target, type) and callable(getattr(target, "export", None)):
        target.export(str(scratch / "written"))
        return _open_saved_model(scratch / "written", scratch, samples)
    kind = f"{type(target).__module__}.{type(target).__name__}"
    raise ConversionError(
        f"cannot convert a {kind}; expected a Keras 3 model, a .keras or .h5 file, a "
        "SavedModel directory, or an object with export(directory)"
    )


def _open_saved_model(directory: Path, scratch: Path, samples: Arrays | None) -> Source:
    if not (directory / "saved_model.pb").is_file():
        raise ConversionError(
            f"{directory}: not a SavedModel (saved_model.pb is missing); write one with "
            "model.export(directory)"
        )
    variables = directory.glob("variables/variables.data-*")
    check_bytes(str(directory), sum(file.stat().st_size for file in variables), ".tflite")
    try:
        described = converter.shared.request("describe", directory=str(directory))
    except JobError as error:
        raise ConversionError(
            f"{directory}: not a usable SavedModel ({one_line(error)}); write it again with "
            "model.export(directory)"
        ) from error
    arrays = named_arrays(samples, list(described["inputs"])) if samples is not None else {}
    inputs = {
        name: _input_spec(directory, name, shape, dtype, arrays.get(name))
        for name, (shape, dtype) in described["inputs"].items()
    }
    fixed = {name: [1, *spec.shape] for name, spec in inputs.items()}
    open_inputs = any(fixed[name] != shape for name, (shape, _) in described["inputs"].items())
    quantized = described["quantized"]
    return Source(
        inputs,
        quantized,
        partial(_export, directory, scratch, inputs, quantized, fixed if open_inputs else None),
    )


def _input_spec(
    directory: Path, name: str, shape: list | None, dtype: str, samples: np.ndarray | None
) -> InputSpec:
    if dtype == "string":
        raise ConversionError(
            f"input {name} of {directory} takes strings, which LiteRT cannot run; export the part "
            "after the text preprocessing"
        )
    if not shape or shape[0] not in (None, 1):
        raise ConversionError(
            f"input {name} of {directory} has shape {shape}; expected a batch axis that is open or "
            "1, so export the model again with such an axis"
        )
    sample = tuple(shape[1:])
    if samples is not None:
        sample = concrete_shape(sample, samples.shape[1:])
    if None in sample:
        raise ConversionError(
            f"input {name} of {directory} has the open shape {sample}; give samples of the "
            "shape to deploy, as calibration or --data"
        )
    return InputSpec(sample, dtype)


def _export(
    directory: Path,
    scratch: Path,
    inputs: dict[str, InputSpec],
    quantized: bool,
    fixed: dict[str, list[int]] | None,
) -> Export:
    if fixed:
        try:
            converter.shared.request(
                "fix_shapes",
                directory=str(directory),
                shapes=fixed,
                output=str(scratch / "fixed"),
            )
        except JobError as error:
            raise ConversionError(
                f"{directory}: does not run at batch 1 ({one_line(error)}); export it with an open "
                "batch"
            ) from error
        directory = scratch / "fixed"
    return Export(
        directory=directory,
        inputs=inputs,
        reference=partial(_run_saved_model, directory, scratch),
        quantized=quantized,
    )


def _run_saved_model(
    directory: Path, scratch: Path, samples: dict[str, np.ndarray], seconds: float
) -> dict[str, np.ndarray]:
    inputs, outputs = scratch / "reference_inputs.npz", scratch / "reference.npz"
    write_arrays(inputs, samples)
    try:
        converter.shared.request(
            "run_saved_model",
            path=str(directory),
            samples=str(inputs),
            output=str(outputs),
            seconds=seconds,
        )
    except JobError as error:
        raise ConversionError(
            f"the SavedModel does not run on a sample ({one_line(error)}); give calibration "
            "samples it accepts"
        ) from error
    return read_arrays(outputs)
