"""``.keras`` files of Keras 2.12 to 2.15, and of tf_keras: zip archives that Keras 3 misreads.

Apart from the twin, only this module needs tf_keras, which alone knows which array of such an
archive belongs to which weight. It is given the config, after anything custom has been refused,
and never the file.
"""

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from leankeras.errors import ModelError
from leankeras.graph import flat_layers, sample_inputs
from leankeras.runtime.model_files.config import current
from leankeras.runtime.model_files.hdf5 import check_contents, rebuild

WEIGHTS = "model.weights.h5"
TOLERANCE = 1e-4
LEFT_OUT = ("build_config", "compile_config", "shared_object_id")


def open_keras2_archive(path: Path, config: dict) -> keras.Model:
    """Open a ``.keras`` file of Keras 2 as an equivalent model of Keras 3.

    Args:
        path: the archive.
        config: its ``config.json``.

    Raises:
        ModelError: it holds a custom layer or code, or Keras 3 computes something else.
    """
    import tf_keras

    current(config, 2)  # refuses anything that is code or unknown
    old = tf_keras.models.model_from_json(json.dumps(_plain(config)))
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        archive.extract(WEIGHTS, folder)
        with h5py.File(Path(folder, WEIGHTS)) as file:
            check_contents(file)
        old.load_weights(Path(folder, WEIGHTS))
    weights = {
        layer.name: [
            np.asarray(weight)
            for weight in (*layer.trainable_weights, *layer.non_trainable_weights)
        ]
        for layer in old.layers
    }
    model = rebuild(config, 2, weights)
    _check_equal(old, model)
    for layer in flat_layers(model):
        if getattr(layer, "stateful", False):
            layer.reset_state()  # the check has called it
    return model


def _plain(value: Any) -> Any:
    """A config without anything that tf_keras would initialize or import."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {
        name: item
        for name, item in value.items()
        if name not in LEFT_OUT and not name.endswith("_initializer")
    }
    module, registered = kept.pop("module", None), kept.pop("registered_name", None)
    kind, function = kept.get("class_name"), kept.get("config")
    own = module in (None, "builtins") or module.partition(".")[0] in ("keras", "tf_keras")
    if not own or registered not in (None, kind):
        raise ModelError(
            f"holds {registered or kind}, which is not one of Keras's own, in a file of Keras 2; "
            "load it with the Keras that wrote it, save its weights and load those into the model "
            "built with Keras 3"
        )
    if kind == "function" and isinstance(function, str):
        return function
    return {name: _plain(item) for name, item in kept.items()}


def _check_equal(old: Any, model: keras.Model) -> None:
    samples = sample_inputs(model)
    packed = samples[0] if len(samples) == 1 else keras.tree.pack_sequence_as(model.input, samples)
    expected, seen = (
        [np.asarray(output) for output in keras.tree.flatten(made(packed, training=False))]
        for made in (old, model)
    )
    for was, now in zip(expected, seen, strict=True):
        scale = max(1.0, float(np.abs(was).max(initial=0)))
        if not np.allclose(was, now, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
            raise ModelError(
                f"Keras 3 computes something other than Keras 2 ({np.abs(was - now).max():.2g} of "
                f"up to {scale:.2g}); build the model with Keras 3 and load its weights"
            )
