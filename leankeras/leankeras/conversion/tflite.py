"""Conversion to .tflite that returns a file which was run and checked, or an error that says why.

What the converter does: https://ai.google.dev/edge/litert/models/convert_tf and, for the integer
modes, https://ai.google.dev/edge/litert/models/post_training_quantization.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leankeras.arrays import read_arrays, write_arrays
from leankeras.child import JobError
from leankeras.conversion import converter
from leankeras.conversion.calibration import check_calibration
from leankeras.conversion.convertible import open_source
from leankeras.conversion.export import Export
from leankeras.conversion.refusal import explain
from leankeras.conversion.signature import Arrays, invented_samples
from leankeras.conversion.verification import check_types, max_abs_difference
from leankeras.errors import ConversionError, ParameterError
from leankeras.files import check_place, copy, scratch_directory, write_atomically
from leankeras.modes import INT8_MODES, INTEGER_MODES, MODES
from leankeras.runtime import TFLiteFile

CHECKED_SAMPLES = 4


@dataclass(frozen=True)
class Conversion:
    """A .tflite file that was loaded, run and compared with its model.

    Attributes:
        path: the file.
        mode: as asked for.
        size_bytes: size of the file.
        gzip_bytes: its size compressed.
        tensor_types: type name to the number of tensors of it.
        operators: one row for each operator in order: ``operator``, ``layer`` (the Keras layer),
            ``type`` and ``shape`` of its output, ``tensor`` (the output's name).
        max_abs_diff: the largest difference of an output from the model's, on a few samples.
    """

    path: Path
    mode: str
    size_bytes: int
    gzip_bytes: int
    tensor_types: dict[str, int]
    operators: pd.DataFrame = field(repr=False, compare=False)
    max_abs_diff: float

    def __str__(self) -> str:
        types = ", ".join(f"{count} {name}" for name, count in self.tensor_types.items())
        return (
            f"{self.path} ({self.mode}): {self.size_bytes / 1000:.1f} kB, "
            f"{self.gzip_bytes / 1000:.1f} kB gzipped; {len(self.operators)} operators; "
            f"tensors {types}; within {self.max_abs_diff:.2g} of the model"
        )


def convert(
    model: Any,
    path: str | Path,
    mode: str = "int8",
    calibration: Arrays | None = None,
    keep_float: Sequence[str] = (),
    evaluation: Arrays | None = None,
) -> Conversion:
    """Convert a model to a .tflite file at batch 1, and check the file.

    The converter runs in a child process, so that its crash is an error here.

    Args:
        model: a Keras 3 model, a ``.keras`` file, a SavedModel directory, or an object with
            ``export(directory)`` that writes one, such as a quantization-aware model.
        path: where the ``.tflite`` goes; replaced only once the new file is verified.
        mode: ``"float32"``; ``"float16"`` (weights); ``"dynamic"`` (weights int8, activations
            float); ``"int8"`` (all of it, with float inputs and outputs); ``"int8-io"`` and
            ``"uint8-io"`` (inputs and outputs too); ``"int16x8"`` (activations int16).
        calibration: samples ``(n, ...)`` that activation ranges are read off, an array or, for
            several inputs, a dict or list of arrays. The integer modes need them; the others take
            them for open dimensions and for checking.
        keep_float: layers that ``int8`` leaves in float.
        evaluation: samples the model will be scored with; the calibration is checked to have a
            range like theirs.

    Raises:
        ParameterError: an unknown mode or layer name, or an integer mode without calibration.
        DataError: calibration samples that would calibrate wrongly.
        ConversionError: the converter crashed or refused, or the file is not what was asked for.

    Example:
        >>> conversion = leankeras.convert(model, "model.tflite", "int8", data.x_train[:200])
        >>> conversion.size_bytes, conversion.tensor_types
    """
    path = Path(path)
    _check_parameters(path, mode, keep_float)
    converter.warm_converter()
    with scratch_directory() as scratch:
        source = open_source(model, scratch, calibration)
        if source.quantized and mode not in INT8_MODES:
            raise ConversionError(
                f"mode {mode!r} of a quantization-aware model; expected one of "
                f"{', '.join(INT8_MODES)}, or the float model it was made from"
            )
        samples = None
        if calibration is not None:
            samples = check_calibration(calibration, source.inputs, evaluation)
        elif mode in INTEGER_MODES and not source.quantized:
            raise ParameterError(
                f"mode {mode!r} needs calibration samples; pass calibration=x_train[:200], "
                "or --data on the command line"
            )
        export = source.export()
        _check_layers(export, keep_float)
        lowered = scratch / "model.tflite"
        _lower(export, lowered, mode, samples, keep_float)
        file = TFLiteFile(lowered)
        operator_layers = file.operator_layers(export.layers, export.output_layers)
        check_types(file, mode, operator_layers, keep_float)
        difference = _difference(export, lowered, mode, samples)
        write_atomically(path, partial(copy, lowered), ConversionError)
    return Conversion(
        path=path,
        mode=mode,
        size_bytes=len(file.content),
        gzip_bytes=len(gzip.compress(file.content)),
        tensor_types=file.tensor_types,
        operators=_operator_table(file, operator_layers),
        max_abs_diff=difference,
    )


def _check_parameters(path: Path, mode: str, keep_float: Sequence[str]) -> None:
    if mode not in MODES:
        raise ParameterError(f"mode {mode!r}; expected one of {', '.join(MODES)}")
    if isinstance(keep_float, str):
        raise ParameterError(f"keep_float is {keep_float!r}; expected a list of layer names")
    if keep_float and mode not in INT8_MODES:
        raise ParameterError(f"keep_float has no meaning in mode {mode!r}; expected an int8 mode")
    check_place(path, [".tflite"])


def _check_layers(export: Export, keep_float: Sequence[str]) -> None:
    known = {layer.partition("/")[2] for layer in export.layers} - {""}
    unknown = sorted(set(keep_float) - known)
    if export.layers and unknown:
        raise ParameterError(
            f"keep_float names {', '.join(unknown)}; the layers are {', '.join(sorted(known))}"
        )


def _lower(
    export: Export,
    lowered: Path,
    mode: str,
    samples: dict[str, np.ndarray] | None,
    keep_float: Sequence[str],
) -> None:
    calibration = None
    if samples is not None and mode in INTEGER_MODES:
        calibration = lowered.with_name("calibration.npz")
        write_arrays(calibration, samples)
    try:
        converter.shared.request(
            "lower",
            directory=str(export.directory),
            output=str(lowered),
            mode=mode,
            calibration=str(calibration) if calibration else None,
            layers=sorted(export.layers),
            output_layers=export.output_layers,
            keep_float=list(keep_float),
        )
    except JobError as error:
        raise ConversionError(explain(str(error), export.layers)) from error


def _difference(
    export: Export, lowered: Path, mode: str, samples: dict[str, np.ndarray] | None
) -> float:
    if samples is None:
        samples = invented_samples(export.inputs, CHECKED_SAMPLES)
    samples = {name: array[:CHECKED_SAMPLES] for name, array in samples.items()}
    reference = export.reference(samples)
    inputs, outputs = lowered.with_name("samples.npz"), lowered.with_name("outputs.npz")
    write_arrays(inputs, samples)
    try:
        converter.shared.request(
            "run_tflite", path=str(lowered), samples=str(inputs), output=str(outputs)
        )
    except JobError as error:
        raise ConversionError(
            f"the {mode} file does not run in LiteRT ({str(error).partition(': ')[2]}); convert in "
            "another mode"
        ) from error
    return max_abs_difference(reference, read_arrays(outputs), mode)


def _operator_table(file: TFLiteFile, layers: Sequence[str]) -> pd.DataFrame:
    outputs = [file.result(operator) for operator in file.operators]
    return pd.DataFrame(
        {
            "operator": [operator.kind for operator in file.operators],
            "layer": list(layers),
            "type": [tensor.type for tensor in outputs],
            "shape": [tensor.shape for tensor in outputs],
            "tensor": [tensor.name for tensor in outputs],
        }
    )
