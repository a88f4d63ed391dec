"""Deployment formats other than .tflite, each verified by running it in a fresh process.

``.keras`` for Keras 3, a SavedModel with a serving signature for TensorFlow Serving, HDF5 for
consumers that read nothing newer, and ONNX for runtimes without TensorFlow.
"""

import logging
import sys
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from leankeras.arrays import read_arrays, write_arrays
from leankeras.child import Child, JobError
from leankeras.conversion import converter
from leankeras.conversion.calibration import check_samples
from leankeras.conversion.export import export_model, run_model
from leankeras.conversion.signature import Arrays, invented_samples, model_inputs, named_arrays
from leankeras.conversion.weight_checks import check_finite, check_size
from leankeras.errors import ConversionError, one_line
from leankeras.files import check_place, copy, scratch_directory, write_atomically
from leankeras.graph import custom_code
from leankeras.runtime import layer_of, refusal_reason

FORMATS = {".keras": "Keras 3", ".h5": "HDF5", ".onnx": "ONNX", "": "SavedModel"}
ONNX_EXTRA = ("tf2onnx", "onnxruntime")
CHECKED_SAMPLES = 4
TOLERANCE = 1e-5
ONNX_TOLERANCE = 1e-4


@dataclass(frozen=True)
class SavedFile:
    """A model in a deployment format, loaded and run in a fresh process.

    Attributes:
        path: the file, or the SavedModel's directory.
        format: ``"Keras 3"``, ``"HDF5"``, ``"ONNX"`` or ``"SavedModel"``.
        size_bytes: size of the file, or of all files in the directory.
        max_abs_diff: the largest difference of an output from the model's.
    """

    path: Path
    format: str
    size_bytes: int
    max_abs_diff: float

    def __str__(self) -> str:
        return (
            f"{self.path} ({self.format}): {self.size_bytes / 1000:.1f} kB; loaded and run in "
            f"another process, within {self.max_abs_diff:.2g} of the model"
        )


def save_model(model: keras.Model, path: str | Path, samples: Arrays | None = None) -> SavedFile:
    """Save a model, and load and run it in another process before putting it in place.

    Custom layers of a ``.keras`` or ``.h5`` are imported there from the modules that define them,
    as a server would have to.

    Args:
        model: a built Keras 3 model.
        path: ends in ``.keras``, ``.h5`` or ``.onnx``; without an ending a SavedModel directory is
            written. The last two serve batches of any size, the SavedModel through the signature
            ``serving_default``; ``.onnx`` needs the extra ``leankeras[onnx]``.
        samples: inputs to compare the outputs on, ``(n, ...)``; the first 4 are used. Without
            them, normally distributed ones are used.

    Raises:
        ParameterError: the ending is unknown, or the path cannot be written to.
        ConversionError: the model cannot be saved, or the file does not load in another process
            or computes something else there.

    Example:
        >>> save_model(model, "serving/1", data.x_test).max_abs_diff
        0.0
    """
    path = Path(path)
    check_place(path, FORMATS)
    if path.suffix == ".onnx":
        _check_extra()
        check_size(model, ".onnx")
    check_finite(model)
    inputs, structure = model_inputs(model, samples)
    given = (
        invented_samples(inputs, CHECKED_SAMPLES)
        if samples is None
        else named_arrays(samples, list(inputs))
    )
    arrays = {
        name: check_samples(array, name, inputs[name])[:CHECKED_SAMPLES]
        for name, array in given.items()
    }
    with scratch_directory() as scratch:
        written = scratch / f"model{path.suffix}"
        if path.suffix in (".keras", ".h5"):
            outputs = _write_keras(model, written, structure, arrays)
        else:
            outputs = _write_graph(model, written, inputs, structure, arrays)
        difference = _check_equal(path, run_model(model, structure, arrays), outputs)
        write_atomically(path, partial(copy, written), ConversionError)
    return SavedFile(path, FORMATS[path.suffix], _size(path), difference)


def _check_extra() -> None:
    missing = [name for name in ONNX_EXTRA if find_spec(name) is None]
    if missing:
        raise ConversionError(
            f"ONNX needs {' and '.join(missing)}; install the extra with uv sync --extra onnx, or "
            "pip install 'leankeras[onnx]'"
        )


def _write_keras(
    model: keras.Model, written: Path, structure: Any, arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Write a file that needs the code of custom layers, and run it with that code imported."""
    modules = _custom_modules(model)
    _save(model, written)
    # The shared child does not have this model's code; only a new child is sure to import the
    # modules as they are now.
    with converter.Converter() if modules else nullcontext(converter.shared) as process:
        try:
            return _run_elsewhere(
                process,
                "run_keras",
                arrays,
                written,
                modules=modules,
                search_path=[str(Path(entry).resolve()) for entry in sys.path],
                structure=structure,
            )
        except JobError as error:
            raise ConversionError(
                f"{model.name} does not load from {written.suffix} in a fresh process: "
                f"{refusal_reason(str(error))}"
            ) from error


def _write_graph(
    model: keras.Model,
    written: Path,
    inputs: dict[str, Any],
    structure: Any,
    arrays: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Write a file that holds the layers' operations, and run it without their code."""
    format_name = FORMATS[written.suffix]
    saved = written.with_name("saved") if written.suffix else written
    export = export_model(model, saved, inputs, structure, batch_size=None)
    try:
        if format_name == "SavedModel":
            return _run_elsewhere(converter.shared, "run_saved_model", arrays, saved)
        foreign = converter.shared.request("write_onnx", directory=str(saved), output=str(written))
        if foreign:
            raise ConversionError(_foreign(foreign, export.layers))
        return _run_elsewhere(converter.shared, "run_onnx", arrays, written)
    except JobError as error:
        raise ConversionError(
            f"{model.name} does not run as {format_name} in a fresh process "
            f"({one_line(error)}); save it in another format"
        ) from error


def _foreign(operations: list[list[str]], layers: Collection[str]) -> str:
    places = {}
    for kind, name in operations:
        path = name.replace("StatefulPartitionedCall/", "").replace("PartitionedCall/", "")
        places.setdefault(kind, set()).add(layer_of(path, layers) or path)
    found = "; ".join(f"{kind} of {', '.join(sorted(at))}" for kind, at in places.items())
    return f"ONNX has no operator for {found}; rewrite it with operations that ONNX has"


def _run_elsewhere(
    process: Child,
    job: str,
    arrays: dict[str, np.ndarray],
    written: Path,
    **options: Any,
) -> dict[str, np.ndarray]:
    given, results = written.with_name("given.npz"), written.with_name("results.npz")
    write_arrays(given, arrays)
    process.request(job, path=str(written), samples=str(given), output=str(results), **options)
    return read_arrays(results)


def _save(model: keras.Model, path: Path) -> None:
    absl = logging.getLogger("absl")
    level = absl.level
    try:
        # Keras advises against HDF5 each time; anyone who asks for an .h5 file has a reason.
        absl.setLevel(logging.ERROR)
        model.save(path)
    except Exception as error:
        raise ConversionError(
            f"{model.name} cannot be saved as {path.suffix} ({one_line(error)}); give "
            "its layers a get_config that returns their constructor's arguments"
        ) from error
    finally:
        absl.setLevel(level)


def _custom_modules(model: keras.Model) -> list[str]:
    modules = {code.__module__ for code in custom_code(model)}
    if "__main__" in modules:
        raise ConversionError(
            f"{model.name} has layers defined in a notebook or script, which no other process can "
            "load; move them into a module and import it"
        )
    return sorted(modules)


def _check_equal(
    path: Path, expected: dict[str, np.ndarray], loaded: dict[str, np.ndarray]
) -> float:
    differences = []
    for name, values in expected.items():
        if not np.isfinite(values).all():
            raise ConversionError(
                f"output {name} of the model itself holds NaN or Inf on the samples; correct the "
                "model, or give samples that it is meant for"
            )
        if name not in loaded or loaded[name].shape != values.shape:
            seen = f"shape {loaded[name].shape}" if name in loaded else "missing"
            raise ConversionError(
                f"{path}: output {name} is {seen} after loading in a fresh process, but has shape "
                f"{values.shape} in the model; save the model in another format"
            )
        difference = float(np.abs(loaded[name] - values).max())
        scale = max(1.0, float(np.abs(values).max()))
        # Another runtime may add the same numbers in a different order.
        tolerance = ONNX_TOLERANCE if path.suffix == ".onnx" else TOLERANCE
        if not difference <= tolerance * scale:
            raise ConversionError(
                f"{path}: output {name} is off by {difference:.2g} after loading in a fresh "
                f"process (values up to {scale:.2g}); part of the model is not saved (a "
                "tf.Variable attribute, a random constant), so run leankeras.diagnose on it"
            )
        differences.append(difference)
    return max(differences)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
