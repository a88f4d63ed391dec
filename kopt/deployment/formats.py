"""Deployment formats beside .tflite, each verified by loading it in a process that knows nothing.

``.keras`` for Keras 3, a SavedModel with a serving signature for TensorFlow Serving, and HDF5 for
consumers that read nothing newer.
"""

import logging
import os
import shutil
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kopt.deployment.archive import refusal_reason
from kopt.deployment.calibration import check_samples
from kopt.deployment.export import export_model, run_model
from kopt.deployment.inputs import Arrays, model_inputs, named_arrays
from kopt.deployment.worker import JobError, Worker, shared
from kopt.errors import ConversionError

FORMATS = {".keras": "Keras 3", ".h5": "HDF5", "": "SavedModel"}
CHECKED_SAMPLES = 4
TOLERANCE = 1e-5


@dataclass(frozen=True)
class SavedFile:
    """A model in a deployment format, loaded and run in a fresh process.

    Attributes:
        path: the file, or the SavedModel's directory.
        format: ``"Keras 3"``, ``"HDF5"`` or ``"SavedModel"``.
        size_bytes: of the file, or of all files in the directory.
        max_abs_diff: the largest difference of an output from the model's.
    """

    path: Path
    format: str
    size_bytes: int
    max_abs_diff: float


def save_model(model: keras.Model, path: str | Path, samples: Arrays) -> SavedFile:
    """Save a model, and load and run it in a fresh process before it takes its place.

    Custom layers are imported there from the modules that define them, as a server would have to.

    Args:
        model: a built Keras 3 model.
        path: ends in ``.keras`` or ``.h5``; without an ending a SavedModel directory is written,
            with the signature ``serving_default`` for batches of any size.
        samples: inputs to compare the outputs on, ``(n, ...)``; the first 4 are used.

    Raises:
        ConversionError: an unknown ending, a model that cannot be saved, or a file that does not
            load elsewhere or computes something else there.

    Example:
        >>> save_model(model, "serving/1", data.x_test).max_abs_diff
        0.0
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ConversionError(f"{path}: expected an ending .keras or .h5, or none for a SavedModel")
    inputs, structure = model_inputs(model, samples)
    arrays = {
        name: check_samples(array, name, inputs[name])[:CHECKED_SAMPLES]
        for name, array in named_arrays(samples, list(inputs)).items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch, f"model{path.suffix}")
        given, results = Path(scratch, "given.npz"), Path(scratch, "results.npz")
        np.savez(given, **arrays)
        modules = _custom_modules(model) if path.suffix else []
        # The shared child has never seen this model's code; only a child of its own is sure to
        # import the modules as they are now.
        with Worker() if modules else nullcontext(shared) as worker:
            try:
                if path.suffix:
                    _save(model, written)
                    worker.request(
                        "run_keras",
                        path=str(written),
                        modules=modules,
                        search_path=[entry for entry in sys.path if entry],
                        structure=structure,
                        samples=str(given),
                        output=str(results),
                    )
                else:
                    export_model(model, written, inputs, structure, batch_size=None)
                    worker.request(
                        "run_saved_model",
                        directory=str(written),
                        samples=str(given),
                        output=str(results),
                    )
            except JobError as error:
                raise ConversionError(
                    f"{path} does not load in a fresh process: {refusal_reason(str(error))}"
                ) from error
        expected = run_model(model, structure, arrays)
        with np.load(results, allow_pickle=False) as archive:
            difference = _check_equal(path, expected, dict(archive))
        _put_in_place(written, path)
    return SavedFile(path, FORMATS[path.suffix], _size(path), difference)


def _save(model: keras.Model, path: Path) -> None:
    absl = logging.getLogger("absl")
    level = absl.level
    try:
        # Keras advises against HDF5 each time; whoever names an .h5 file has a reason.
        absl.setLevel(logging.ERROR)
        model.save(path)
    except Exception as error:
        raise ConversionError(
            f"{model.name} cannot be saved as {path.suffix} ({str(error).splitlines()[0]}); give "
            "its layers a get_config that returns their constructor's arguments"
        ) from error
    finally:
        absl.setLevel(level)


def _custom_modules(model: keras.Model) -> list[str]:
    modules = {type(layer).__module__ for layer in model._flatten_layers()}
    if "__main__" in modules:
        raise ConversionError(
            f"{model.name} has layers defined in a notebook or script, which no other process can "
            "load; move them into a module and import it"
        )
    return sorted(name for name in modules if name.partition(".")[0] != "keras")


def _check_equal(
    path: Path, expected: dict[str, np.ndarray], loaded: dict[str, np.ndarray]
) -> float:
    differences = []
    for name, values in expected.items():
        difference = float(np.abs(loaded[name] - values).max())
        scale = max(1.0, float(np.abs(values).max()))
        if not difference <= TOLERANCE * scale:
            raise ConversionError(
                f"{path}: output {name} is {difference:.2g} away after loading in a fresh process, "
                f"of up to {scale:.2g}; something of the model is not saved (a tf.Variable "
                "attribute, a random constant), so run kopt.diagnose on it"
            )
        differences.append(difference)
    return max(differences)


def _put_in_place(written: Path, path: Path) -> None:
    """Replace what stands at ``path``; a reader never finds half of the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if written.is_file():
            shutil.copyfile(written, temporary)
            os.replace(temporary, path)
            return
        shutil.copytree(written, temporary)
        if path.exists():
            shutil.rmtree(path)
        os.rename(temporary, path)
    except OSError as error:
        raise ConversionError(f"{path} cannot be written ({error.strerror})") from error


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
