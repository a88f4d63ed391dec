"""HDF5 files as early versions of Keras laid them out."""

import json
from pathlib import Path

import h5py
import numpy as np


def write_hdf5(
    path: Path,
    entry: dict,
    weights: dict[str, list[np.ndarray]],
    version: str | None,
    backend: str = "tensorflow",
) -> None:
    """Write a whole model.

    Args:
        path: the file.
        entry: the model's class and config.
        weights: the arrays of each layer.
        version: of Keras; None as the earliest did, which did not say.
        backend: what Keras ran on.
    """
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(entry).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        if version:
            group.attrs["keras_version"] = file.attrs["keras_version"] = version.encode()
            group.attrs["backend"] = backend.encode()
        for name, arrays in weights.items():
            layer = group.create_group(name)
            names = [f"{name}_{index}" for index in range(len(arrays))]
            layer.attrs["weight_names"] = [each.encode() for each in names]
            for each, array in zip(names, arrays, strict=True):
                layer[each] = array
