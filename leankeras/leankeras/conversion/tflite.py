"""Conversion to .tflite that returns a file that was run and checked, or an error that says why.

The converter is described at https://ai.google.dev/edge/litert/models/convert_tf and, for the
integer modes, https://ai.google.dev/edge/litert/models/post_training_quantization.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leankeras.conversion import converter
from leankeras.conversion.attempt import Attempt, Attempts
from leankeras.conversion.calibration import check_calibration, thinned
from leankeras.conversion.comparison_samples import choose_samples
from leankeras.conversion.convertible import open_source
from leankeras.conversion.cures import Trouble
from leankeras.conversion.export import Export
from leankeras.conversion.refusal import Unsuited
from leankeras.conversion.score import Score
from leankeras.conversion.signature import Arrays
from leankeras.conversion.verification import percent
from leankeras.errors import ConversionError, ParameterError
from leankeras.files import check_place, copy, scratch_directory, write_atomically
from leankeras.modes import INT8_MODES, INTEGER_MODES, MODES
from leankeras.runtime import TFLiteFile


@dataclass(frozen=True)
class Conversion:
    """A .tflite file that was loaded, run and compared with its model.

    Attributes:
        path: the file.
        mode: the requested mode.
        size_bytes: size of the file.
        gzip_bytes: its size compressed.
        tensor_types: type name to the number of tensors of that type.
        operators: one row for each operator in order: ``operator``, ``layer`` (the Keras layer),
            ``type`` and ``shape`` of its output, ``tensor`` (the output's name).
        max_abs_diff: the largest difference of an output from the model's.
        difference: the root mean square of the difference over that of the model's output, for
            the output that is furthest off (or for a part of it, if it is joined from parts).
        channel_difference: the same for the channel that is furthest off.
        checked_samples: how many samples the two were compared on.
        warning: what is wrong with the file, where it comes from, and what was tried; None if
            nothing is.
        score: the scores of model and file on the labelled samples; None without labels.
    """

    path: Path
    mode: str
    size_bytes: int
    gzip_bytes: int
    tensor_types: dict[str, int]
    operators: pd.DataFrame = field(repr=False, compare=False)
    max_abs_diff: float
    difference: float
    channel_difference: float
    checked_samples: int
    warning: str | None = None
    score: Score | None = None

    def __str__(self) -> str:
        types = ", ".join(f"{count} {name}" for name, count in self.tensor_types.items())
        channel = (
            f" (a channel: {percent(self.channel_difference)})"
            if self.channel_difference > 2 * self.difference
            else ""
        )
        score = f"; {self.score}" if self.score else ""
        warning = f"\nwarning: {self.warning}" if self.warning else ""
        return (
            f"{self.path} ({self.mode}): {self.size_bytes / 1000:.1f} kB, "
            f"{self.gzip_bytes / 1000:.1f} kB gzipped; {len(self.operators)} operators; "
            f"tensors {types}; within {percent(self.difference)} of the model{channel} on "
            f"{self.checked_samples} samples{score}{warning}"
        )


def convert(
    model: Any,
    path: str | Path,
    mode: str = "int8",
    calibration: Arrays | None = None,
    keep_float: Sequence[str] = (),
    evaluation: Arrays | None = None,
    labels: np.ndarray | Mapping[str, np.ndarray] | None = None,
) -> Conversion:
    """Convert a model to a .tflite file at batch 1, and check the file.

    The file is run on all given samples, for some seconds at most, and compared with the model
    output by output and channel by channel. docs/formats.md lists how far a mode may be off. A file
    that is further off is refused; one that is off by more than the mode explains comes with a
    warning. Either message says which layer is the cause and what was tried against it.

    The converter runs in a child process, so a crash of it is only an error here.

    Args:
        model: a Keras 3 model, a ``.keras`` file, a SavedModel directory, or an object with
            ``export(directory)`` that writes one, such as a quantization-aware model.
        path: where the ``.tflite`` goes; replaced only once the new file is verified.
        mode: ``"float32"``; ``"float16"`` (weights); ``"dynamic"`` (weights int8, activations
            float); ``"int8"`` (everything, with float inputs and outputs); ``"int8-io"`` and
            ``"uint8-io"`` (inputs and outputs too); ``"int16x8"`` (activations int16).
        calibration: samples ``(n, ...)`` that set the activation ranges, an array or, for several
            inputs, a dict or list of arrays. The integer modes need them; the others use them for
            open dimensions and for checking.
        keep_float: layers that ``int8`` leaves in float.
        evaluation: samples the model will be scored with; the calibration must have a similar
            range.
        labels: labels of the evaluation samples: class indices ``(n,)``, or targets in the shape
            of the output; for several outputs, a dict by name. With them the file's score is
            checked too.

    Raises:
        ParameterError: an unknown mode or layer name, or an integer mode without calibration.
        DataError: the samples would calibrate the model wrongly, or the labels do not fit.
        ConversionError: the converter crashed or refused, or the file is not as requested.

    Example:
        >>> conversion = leankeras.convert(model, "model.tflite", "int8", data.x_train[:200])
        >>> conversion.size_bytes, conversion.difference, conversion.warning
    """
    path = Path(path)
    check_place(path, [".tflite"])
    if labels is not None and evaluation is None:
        raise ParameterError("labels without samples; pass evaluation=x_val, labels=y_val")
    with _prepared(model, mode, calibration, keep_float, evaluation, labels) as attempts:
        attempt = _attempt(attempts, mode, keep_float)
        warning = _judged(attempts, attempt, mode, keep_float)
        write_atomically(path, partial(copy, attempt.file.path), ConversionError)
    file, verdict = attempt.file, attempt.verdict
    return Conversion(
        path=path,
        mode=mode,
        size_bytes=len(file.content),
        gzip_bytes=len(gzip.compress(file.content)),
        tensor_types=file.tensor_types,
        operators=_operator_table(file, attempt.operator_layers),
        max_abs_diff=verdict.max_abs_diff,
        difference=verdict.difference,
        channel_difference=verdict.channel_difference,
        checked_samples=verdict.samples,
        warning=warning,
        score=verdict.score,
    )


def convert_to_score(
    model: Any,
    path: str | Path,
    mode: str,
    calibration: Arrays,
    keep_float: Sequence[str] = (),
) -> Path:
    """Like :func:`convert`, for a file that may be wrong because it will be scored.

    Returns:
        The path of the file. Its outputs are not compared with the model's.

    Raises:
        ParameterError, DataError, ConversionError: as from :func:`convert`.

    Example:
        >>> files = {n: convert_to_score(model, f"{n}.tflite", "int8", x[:n]) for n in (10, 200)}
    """
    path = Path(path)
    check_place(path, [".tflite"])
    with _prepared(model, mode, calibration, keep_float) as attempts:
        made = attempts.make(mode, keep_float).file.path
        write_atomically(path, partial(copy, made), ConversionError)
    return path


@contextmanager
def _prepared(
    model: Any,
    mode: str,
    calibration: Arrays | None,
    keep_float: Sequence[str],
    evaluation: Arrays | None = None,
    labels: np.ndarray | Mapping[str, np.ndarray] | None = None,
) -> Iterator[Attempts]:
    """Export a model and check its samples, in a temporary directory."""
    _check_parameters(mode, keep_float)
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
        comparison = choose_samples(source.inputs, samples, evaluation)
        export = source.export()
        _check_layers(export, keep_float)
        ranges = thinned(samples) if samples else None
        yield Attempts(export, scratch, ranges, comparison, labels)


def _attempt(attempts: Attempts, mode: str, keep_float: Sequence[str]) -> Attempt:
    try:
        return attempts.make(mode, keep_float)
    except Unsuited as error:
        advice = Trouble(attempts, mode, keep_float, stuck=error.layers).advice()
        raise ConversionError(f"{error}{advice}") from error


def _judged(
    attempts: Attempts, attempt: Attempt, mode: str, keep_float: Sequence[str]
) -> str | None:
    """The warning about a file, if any; a ConversionError if the file is wrong."""
    verdict = attempt.verdict
    if verdict.finding is None:
        if not attempt.silent:
            return None
        layers = ", ".join(map(repr, attempt.silent))
        return (
            f"layer {layers} gives zero for every calibration sample, so its range is a guess; "
            "calibrate with samples for which it does not, or remove the layer"
        )
    trouble = Trouble(attempts, mode, keep_float, attempt)
    seen = f"{verdict.finding} on {verdict.samples} samples{trouble.advice()}"
    if verdict.refused or trouble.wrong_in_float:
        raise ConversionError(f"the {mode} file is wrong: {seen}")
    return seen


def _check_parameters(mode: str, keep_float: Sequence[str]) -> None:
    if mode not in MODES:
        raise ParameterError(f"mode {mode!r}; expected one of {', '.join(MODES)}")
    if isinstance(keep_float, str):
        raise ParameterError(f"keep_float is {keep_float!r}; expected a list of layer names")
    if keep_float and mode not in INT8_MODES:
        raise ParameterError(f"keep_float has no effect in mode {mode!r}; expected an int8 mode")


def _check_layers(export: Export, keep_float: Sequence[str]) -> None:
    known = {layer.partition("/")[2] for layer in export.layers} - {""}
    unknown = sorted(set(keep_float) - known)
    if export.layers and unknown:
        raise ParameterError(
            f"keep_float names {', '.join(unknown)}; the layers are {', '.join(sorted(known))}"
        )


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
