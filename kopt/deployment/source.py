"""Anything that can be converted, brought to one form: a SavedModel at batch 1."""

from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kopt.deployment import worker
from kopt.deployment.archive import load_keras
from kopt.deployment.export import Export, export_model
from kopt.deployment.inputs import Arrays, InputSpec, concrete_shape, model_inputs, named_arrays
from kopt.errors import ConversionError


def open_source(target: Any, scratch: Path, samples: Arrays | None = None) -> Export:
    """Bring a model to a SavedModel with one signature at batch 1 and fixed shapes.

    Args:
        target: a Keras 3 model, a ``.keras`` file, a SavedModel directory, or an object whose
            ``export(directory)`` writes one.
        scratch: a directory for what has to be written.
        samples: the user's; they make open dimensions concrete.

    Raises:
        ConversionError: not a model, or not one that can be written as a graph.
        ModelError: a file that is not what its name says, or that Keras refuses in safe mode.
    """
    if isinstance(target, str | Path):
        path = Path(target)
        if path.is_dir():
            return _open_saved_model(path, scratch, samples)
        target = load_keras(path)
    if isinstance(target, keras.Model):
        inputs, structure = model_inputs(target, samples)
        return export_model(target, scratch / "exported", inputs, structure)
    if callable(getattr(target, "export", None)):
        target.export(str(scratch / "written"))
        return _open_saved_model(scratch / "written", scratch, samples)
    kind = f"{type(target).__module__}.{type(target).__name__}"
    raise ConversionError(
        f"cannot convert a {kind}; expected a Keras 3 model, a .keras file, a SavedModel "
        "directory, or an object with export(directory)"
    )


def _open_saved_model(directory: Path, scratch: Path, samples: Arrays | None) -> Export:
    if not (directory / "saved_model.pb").is_file():
        raise ConversionError(
            f"{directory}: no SavedModel (saved_model.pb is missing); write one with "
            "model.export(directory)"
        )
    try:
        described = worker.shared.request("describe", directory=str(directory))
    except worker.JobError as error:
        raise ConversionError(f"{directory}: not a usable SavedModel ({error})") from error
    arrays = named_arrays(samples, list(described["inputs"])) if samples is not None else {}
    inputs, fixed = {}, {}
    for name, (shape, dtype) in described["inputs"].items():
        if dtype == "string":
            raise ConversionError(
                f"input {name} of {directory} takes strings, which LiteRT cannot run; export the "
                "part after the text preprocessing"
            )
        if not shape or shape[0] not in (None, 1):
            raise ConversionError(
                f"input {name} of {directory} has shape {shape}; expected a batch axis that is "
                "open or 1"
            )
        sample = tuple(shape[1:])
        if name in arrays:
            sample = concrete_shape(sample, arrays[name].shape[1:])
        if None in sample:
            raise ConversionError(
                f"input {name} of {directory} has the open shape {sample}; give calibration "
                "samples of the one shape to deploy"
            )
        inputs[name] = InputSpec(sample, dtype)
        fixed[name] = [1, *sample]
    if any(fixed[name] != shape for name, (shape, _) in described["inputs"].items()):
        try:
            worker.shared.request(
                "fix_shapes",
                directory=str(directory),
                shapes=fixed,
                output=str(scratch / "fixed"),
            )
        except worker.JobError as error:
            raise ConversionError(f"{directory}: does not run at batch 1 ({error})") from error
        directory = scratch / "fixed"
    return Export(
        directory=directory,
        inputs=inputs,
        reference=partial(_run_saved_model, directory, scratch),
        quantized=described["quantized"],
    )


def _run_saved_model(
    directory: Path, scratch: Path, samples: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    inputs, outputs = scratch / "reference_inputs.npz", scratch / "reference.npz"
    np.savez(inputs, **samples)
    try:
        worker.shared.request(
            "run_saved_model", directory=str(directory), samples=str(inputs), output=str(outputs)
        )
    except worker.JobError as error:
        raise ConversionError(f"the SavedModel does not run on a sample ({error})") from error
    with np.load(outputs, allow_pickle=False) as archive:
        return dict(archive)
