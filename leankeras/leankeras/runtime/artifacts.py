"""Run and score any artifact: a callable, a Keras model, a ``.keras``, a SavedModel, a ``.tflite``.

TensorFlow and Keras are imported only for the artifacts that need them, so that a ``.tflite`` is
measured where only LiteRT and NumPy are installed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from leankeras.arrays import invent
from leankeras.errors import DataError, KoptError, MeasurementError, ModelError, one_line
from leankeras.runtime.litert import LiteRTModel

BATCH = 256


def as_call(target: Any, sample: np.ndarray, threads: int = 1) -> Callable[[], Any]:
    """A function of no arguments that makes one inference, sample in and result out.

    Args:
        target: see :func:`leankeras.compare_latency`.
        sample: one input with its batch axis.
        threads: for LiteRT.

    Raises:
        MeasurementError: the target is none of these, or does not run on the sample.
    """
    if is_tflite(target):
        return _run_once(target, lambda: LiteRTModel(target, threads).bind(sample))
    if _is_plain_callable(target):
        return _run_once(target, lambda: lambda: target(sample))
    import tensorflow as tf

    tensor = tf.constant(sample)

    def trace() -> Callable[[], Any]:
        # a concrete function: tracing anew for every target is meant, and no cause for a warning
        function = _tf_function(target).get_concrete_function(tensor)
        return lambda: function(tensor)

    return _run_once(target, trace)


def predict(target: Any, x: np.ndarray) -> np.ndarray:
    """Float outputs of a Keras model or an artifact on disk, shape ``(n, classes)``."""
    if is_tflite(target):
        return LiteRTModel(target)(x)
    import tensorflow as tf

    any_batch = tf.TensorSpec((None, *x.shape[1:]), x.dtype)
    function = _tf_function(target).get_concrete_function(any_batch)
    parts = [tf.constant(x[start : start + BATCH]) for start in range(0, len(x), BATCH)]
    return np.concatenate([np.asarray(function(part)) for part in parts])


def evaluate(target: Any, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Score a classifier.

    Args:
        target: a Keras model, or a path to a ``.tflite``, a ``.keras`` or a SavedModel.
        x: samples, shape ``(n, ...)``.
        y: class indices, shape ``(n,)``.

    Returns:
        ``accuracy``, a fraction; ``standard_error`` of it; ``samples``.

    Example:
        >>> evaluate("model.tflite", data.x_test, data.y_test)["accuracy"]
    """
    if len(x) == 0 or len(x) != len(y):
        raise DataError(f"{len(x)} samples and {len(y)} labels; expected as many, above 0")
    correct = predict(target, x).argmax(axis=-1) == y
    accuracy = float(correct.mean())
    return {
        "accuracy": accuracy,
        "standard_error": float(np.sqrt(accuracy * (1 - accuracy) / len(y))),
        "samples": len(y),
    }


def is_tflite(target: Any) -> bool:
    """Whether a target is a ``.tflite`` file, by its name."""
    return isinstance(target, str | Path) and Path(target).suffix == ".tflite"


def random_sample(path: str | Path) -> np.ndarray:
    """An input of an artifact's own shape to time it with, batch 1: standard normal, or 0 and 1."""
    path = Path(path)
    if path.suffix == ".tflite":
        inputs = [
            (details["shape"], np.float32 if details["quantization"][0] else details["dtype"])
            for details in LiteRTModel(path).input_details.values()
        ]
    elif path.is_dir():
        signature = _load_saved_model(path).signatures["serving_default"]
        specs = signature.structured_input_signature[1].values()
        inputs = [(spec.shape, spec.dtype.as_numpy_dtype) for spec in specs]
    else:
        from leankeras.runtime.model_files.opening import load_keras

        model = load_keras(path)
        if not model.built:
            raise MeasurementError(f"{path}: the model is not built; give it an Input and save it")
        inputs = [(tensor.shape, tensor.dtype) for tensor in model.inputs]
    if len(inputs) != 1:
        raise MeasurementError(f"{path} has {len(inputs)} inputs; expected one")
    sizes, dtype = inputs[0]
    shape = [1, *(size or 1 for size in tuple(sizes)[1:])]
    return invent(shape, dtype, np.random.default_rng(0))


def _is_plain_callable(target: Any) -> bool:
    """Whether a target is timed as it is: a function, and no Keras model."""
    return callable(target) and not hasattr(target, "get_config")


def _tf_function(target: Any) -> Callable[[Any], Any]:
    """A compiled function of a batch for a Keras model or a path to one."""
    import tensorflow as tf

    if isinstance(target, str | Path):
        path = Path(target)
        if path.is_dir():
            loaded = _load_saved_model(path)
            name = next(iter(loaded.signatures["serving_default"].structured_input_signature[1]))

            def serve(x):  # holds the loaded object, which holds the weights
                return next(iter(loaded.signatures["serving_default"](**{name: x}).values()))

            return tf.function(serve)
        from leankeras.runtime.model_files.opening import load_keras

        target = load_keras(path)
    if not hasattr(target, "get_config"):
        raise MeasurementError(
            f"cannot run a {type(target).__name__}; expected a callable, a Keras model or a path "
            "to a .tflite, a .keras or a SavedModel directory"
        )
    return tf.function(lambda x: target(x, training=False))


def _load_saved_model(path: Path) -> Any:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: no SavedModel ({one_line(error)}); expected one") from error
    if "serving_default" not in loaded.signatures:
        raise ModelError(f"{path}: a SavedModel without the signature serving_default; export one")
    return loaded


def _run_once(target: Any, prepare: Callable[[], Callable[[], Any]]) -> Callable[[], Any]:
    """Prepare a call and make it once, so that what cannot run is known before it is timed."""
    try:
        call = prepare()
        call()
    except KoptError:
        raise
    except Exception as error:
        name = target if isinstance(target, str | Path) else type(target).__name__
        raise MeasurementError(
            f"{name} does not run on the sample: {one_line(error)}; give it an input it takes"
        ) from error
    return call
