"""Opening a .keras file that may come from a stranger."""

import json
import zipfile
import zlib
from pathlib import Path

import keras

from leankeras.errors import ModelError

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
HDF5_MAGIC = b"\x89HDF"


def load_keras(path: str | Path) -> keras.Model:
    """Open a ``.keras`` file in safe mode: no code in it is run.

    Raises:
        ModelError: no such file, not a Keras 3 archive, members that do not belong in one, or
            layers that Keras does not know.

    Example:
        >>> model = load_keras("model.keras")
    """
    path = Path(path)
    if path.is_dir():
        raise ModelError(f"{path} is a directory; expected a .keras file")
    if not path.is_file():
        raise ModelError(f"{path}: no such file; expected a .keras file or a SavedModel directory")
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(HDF5_MAGIC):
        raise ModelError(
            f"{path}: an HDF5 file of whole models or weights; load it where it was made and save "
            "it with model.save('model.keras')"
        )
    if head[4:8] == b"TFL3":
        raise ModelError(f"{path}: already a .tflite; expected the Keras model it was made from")
    if path.suffix != ".keras":
        raise ModelError(f"{path}: not a .keras file; save one with model.save('model.keras')")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.namelist())
            damaged = not isinstance(json.loads(archive.read("config.json")), dict)
    except (zipfile.BadZipFile, zlib.error, ValueError) as error:
        raise ModelError(
            f"{path}: damaged or not a .keras file ({error}); save the model again"
        ) from error
    if damaged:
        raise ModelError(f"{path}: config.json describes no model; save the model again")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelError(f"{path}: {refusal_reason(str(error))}") from error


def _check_members(path: Path, names: list[str]) -> None:
    missing = [name for name in MEMBERS if name not in names]
    if missing:
        raise ModelError(
            f"{path}: lacks {', '.join(missing)}; save the whole model with "
            "model.save('model.keras')"
        )
    strange = [
        name
        for name in names
        if name not in MEMBERS and (not name.startswith("assets/") or ".." in name.split("/"))
    ]
    if strange:
        raise ModelError(
            f"{path}: also holds {', '.join(strange[:3])}; a .keras file holds "
            f"{', '.join(MEMBERS)} and assets/, so do not trust this one"
        )


def refusal_reason(text: str) -> str:
    """Why Keras refused a file, in one line, from the text of its exception."""
    text = " ".join(text.split())
    if "lambda" in text.lower() and "safe" in text.lower():
        return (
            "holds a Lambda layer, which is code and is not run; replace it by a registered "
            "keras.layers.Layer subclass, or by keras.ops, and save again"
        )
    if "Could not locate" in text:
        name = text.partition("Could not locate ")[2].split(". ")[0]
        return (
            f"Keras does not know {name[:120]}; import the module that defines it and decorate it "
            "with @keras.saving.register_keras_serializable()"
        )
    return f"Keras cannot open it in safe mode ({text[:200]}); save the model again"
