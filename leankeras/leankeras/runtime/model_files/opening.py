"""Opening a model file from an untrusted source."""

import json
import tempfile
import zipfile
import zlib
from pathlib import Path

import keras

from leankeras.errors import KoptError, ModelError, one_line
from leankeras.files import MODEL_ENDINGS, is_git_lfs_pointer
from leankeras.runtime.model_files import keras2  # noqa: F401 (registers what older files need)
from leankeras.runtime.model_files.config import register_own

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
HDF5_MAGIC = b"\x89HDF"


def load_keras(path: str | Path) -> keras.Model:
    """Open a saved model of any Keras as a model of Keras 3; no code in the file is run.

    Accepts ``.keras`` files of Keras 2.12 and later, and whole models in HDF5 (``.h5``,
    ``.hdf5``, and ``.keras`` of Keras before 2.12). Custom layers must be registered in this
    process.

    Raises:
        ModelError: the file does not exist, is of another kind or has members that do not belong
            in it, or a layer is unknown to Keras or is code.

    Example:
        >>> model = load_keras("model.h5")
    """
    path = Path(path)
    if path.is_dir():
        raise ModelError(f"{path} is a directory; expected a .keras or .h5 file")
    if not path.is_file():
        raise ModelError(
            f"{path}: no such file; expected a .keras or .h5 file, or a SavedModel directory"
        )
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:8] == b"TFL3":
        raise ModelError(f"{path}: already a .tflite; expected the Keras model it was made from")
    if is_git_lfs_pointer(path):
        raise ModelError(
            f"{path}: a Git LFS pointer, not the model itself; fetch it with git lfs pull"
        )
    if path.suffix not in MODEL_ENDINGS:
        raise ModelError(
            f"{path}: not a .keras or .h5 file; save one with model.save('model.keras')"
        )
    try:
        if head.startswith(HDF5_MAGIC):
            from leankeras.runtime.model_files.hdf5 import open_hdf5

            return open_hdf5(path)
        return _open_archive(path)
    except KoptError as error:
        raise ModelError(f"{path}: {error}") from error
    except Exception as error:
        raise ModelError(f"{path}: {refusal_reason(str(error))}") from error


def _open_archive(path: Path) -> keras.Model:
    """Open a zip archive, as Keras has written ``.keras`` files since 2.12."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.namelist())
            metadata, config = (json.loads(archive.read(name)) for name in MEMBERS[:2])
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError) as error:
        raise ModelError(
            f"damaged or not a {path.suffix} file ({one_line(error)}); save the model again"
        ) from error
    if not isinstance(config, dict) or not isinstance(metadata, dict):
        raise ModelError("config.json describes no model; save the model again")
    if str(metadata.get("keras_version", "3")).startswith("2."):
        from leankeras.runtime.model_files.keras2_archive import open_keras2_archive

        return open_keras2_archive(path, config)
    register_own(config)
    with tempfile.TemporaryDirectory() as folder:
        named = path
        if path.suffix != ".keras":  # Keras checks the suffix
            named = Path(folder, "model.keras")
            named.symlink_to(path.resolve())
        return keras.saving.load_model(named, compile=False, safe_mode=True)


def _check_members(names: list[str]) -> None:
    missing = [name for name in MEMBERS if name not in names]
    if missing:
        raise ModelError(
            f"lacks {', '.join(missing)}; save the whole model with model.save('model.keras')"
        )
    strange = [
        name
        for name in names
        if name not in MEMBERS and (not name.startswith("assets/") or ".." in name.split("/"))
    ]
    if strange:
        raise ModelError(
            f"also holds {', '.join(strange[:3])}; a .keras file holds {', '.join(MEMBERS)} and "
            "assets/, so do not trust this one"
        )


def refusal_reason(text: str) -> str:
    """Why Keras refused a file, in one line, from the text of its exception."""
    text = " ".join(text.split())
    if "lambda" in text.lower() and "safe" in text.lower():
        return (
            "holds a Lambda layer, which is code and is not run; replace it with a registered "
            "keras.layers.Layer subclass, or with keras.ops, and save again"
        )
    if "Could not locate" in text:
        name = text.partition("Could not locate ")[2].split(". ")[0]
        return (
            f"Keras does not know {name[:120]}; import the module that defines it (--import MODULE "
            "on the command line) and decorate it with @keras.saving.register_keras_serializable()"
        )
    return f"Keras cannot open it in safe mode ({text[:200]}); save the model again"
