"""Run and score any artifact: a callable, a Keras model, a model file, a SavedModel, a ``.tflite``.

TensorFlow and Keras are imported only for the artifacts that need them, so a ``.tflite`` can be
measured where only LiteRT and NumPy are installed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from leankeras.arrays import Arrays, count_samples, each_array, invent, joined, named_or_listed
from leankeras.errors import DataError, KoptError, MeasurementError, ModelError, one_line
from leankeras.runtime.litert import LiteRTModel

BATCH = 256


def as_call(target: Any, sample: Arrays, threads: int = 1) -> Callable[[], Any]:
    """A function of no arguments that makes one inference, sample in and result out.

    Args:
        target: see :func:`leankeras.compare_latency`.
        sample: one input with its batch axis; for several inputs, arrays by name or in order.
        threads: threads for LiteRT.

    Raises:
        MeasurementError: the target is none of these, or does not run on the sample.
    """
    if is_tflite(target):
        return _run_once(target, lambda: LiteRTModel(target, threads).bind(sample))
    if _is_plain_callable(target):
        return _run_once(target, lambda: lambda: target(sample))
    import tensorflow as tf

    def trace() -> Callable[[], Any]:
        function, arrange = _tf_function(target)
        tensors = tf.nest.map_structure(tf.constant, arrange(sample))
        # a concrete function: retracing for every target is intended and needs no warning
        concrete = function.get_concrete_function(tensors)
        return lambda: concrete(tensors)

    return _run_once(target, trace)


def predict(target: Any, x: Arrays) -> np.ndarray | dict[str, np.ndarray]:
    """Outputs of a Keras model or an artifact on disk, as floats.

    Args:
        target: a Keras model, or a path to a ``.tflite``, a Keras model file or a SavedModel.
        x: samples, ``(n, ...)``; for several inputs, arrays by name or in order.

    Returns:
        An array, ``(n, ...)``; for several outputs, arrays by name.

    Raises:
        DataError: the target does not take the samples.
    """
    return joined(list(predictions(target, x)))


def predictions(target: Any, x: Arrays) -> Iterator[np.ndarray | dict[str, np.ndarray]]:
    """What :func:`predict` gives, 256 samples at a time; samples in files are read as it goes.

    Raises:
        DataError: the target does not take the samples, or there are none.
    """
    count = count_samples(x)
    parts = (
        each_array(x, lambda array, start=start: np.asarray(array[start : start + BATCH]))
        for start in range(0, count, BATCH)
    )
    if not count:
        raise DataError(f"no samples for {_name(target)}; expected one or more")
    run = LiteRTModel(target) if is_tflite(target) else _batch_function(target)
    return map(run, parts)


def _batch_function(target: Any) -> Callable[[Arrays], Any]:
    """A function of samples, ``(n, ...)`` with any n, that is traced once."""
    import tensorflow as tf

    from leankeras.graph import named_outputs

    function, arrange = _tf_function(target)
    traced = []

    def run(samples: Arrays) -> Any:
        arrays = tf.nest.map_structure(np.asarray, arrange(samples))
        try:
            if not traced:
                specs = tf.nest.map_structure(
                    lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), arrays
                )
                traced.append(function.get_concrete_function(specs))
            outputs = named_outputs(traced[0](tf.nest.map_structure(tf.constant, arrays)))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            shapes = [array.shape[1:] for array in tf.nest.flatten(arrays)]
            raise DataError(
                f"{_name(target)} does not take samples of shape {', '.join(map(str, shapes))}: "
                f"{one_line(error)}"
            ) from error
        named = {name: np.asarray(output) for name, output in outputs.items()}
        return named if len(named) > 1 else next(iter(named.values()))

    return run


def is_tflite(target: Any) -> bool:
    """Whether a target is a ``.tflite`` file, by its name."""
    return isinstance(target, str | Path) and Path(target).suffix == ".tflite"


def random_sample(path: str | Path) -> np.ndarray | dict[str, np.ndarray]:
    """An input in an artifact's own shape to time it with, batch 1: standard normal, or 0 and 1.

    Returns:
        An array; for several inputs, arrays by name.
    """
    path = Path(path)
    if path.suffix == ".tflite":
        inputs = {
            name: (details["shape"], np.float32 if details["quantization"][0] else details["dtype"])
            for name, details in LiteRTModel(path).input_details.items()
        }
    elif path.is_dir():
        specs = _load_saved_model(path).signatures["serving_default"].structured_input_signature[1]
        inputs = {name: (spec.shape, spec.dtype.as_numpy_dtype) for name, spec in specs.items()}
    else:
        from leankeras.graph import input_names
        from leankeras.runtime.model_files.opening import load_keras

        model = load_keras(path)
        if not model.built:
            raise MeasurementError(f"{path}: the model is not built; give it an Input and save it")
        inputs = {
            name: (tensor.shape, tensor.dtype)
            for name, tensor in zip(input_names(model), model.inputs, strict=True)
        }
    generator = np.random.default_rng(0)
    samples = {
        name: invent([1, *(size or 1 for size in tuple(sizes)[1:])], dtype, generator)
        for name, (sizes, dtype) in inputs.items()
    }
    return samples if len(samples) > 1 else next(iter(samples.values()))


def _is_plain_callable(target: Any) -> bool:
    """Whether a target is timed as it is: a function, not a Keras model."""
    return callable(target) and not hasattr(target, "get_config")


def _tf_function(target: Any) -> tuple[Any, Callable[[Arrays], Any]]:
    """A compiled function of a batch for a Keras model or a path to one.

    Returns:
        The function, and another that arranges samples in the form it takes.
    """
    import tensorflow as tf

    if isinstance(target, str | Path):
        path = Path(target)
        if path.is_dir():
            return _serving_function(path)
        from leankeras.runtime.model_files.opening import load_keras

        target = load_keras(path)
    if not hasattr(target, "get_config"):
        raise MeasurementError(
            f"cannot run a {type(target).__name__}; expected a callable, a Keras model or a path "
            "to a .tflite, a .keras or .h5 file or a SavedModel directory"
        )
    from leankeras.graph import arranged

    return (
        tf.function(lambda x: target(x, training=False)),
        lambda samples: arranged(target, samples),
    )


def _serving_function(path: Path) -> tuple[Any, Callable[[Arrays], Any]]:
    import tensorflow as tf

    loaded = _load_saved_model(path)
    specs = loaded.signatures["serving_default"].structured_input_signature[1]

    def serve(arrays):  # keeps the loaded object alive, and with it the weights
        outputs = loaded.signatures["serving_default"](**arrays)
        if len(outputs) == 1:
            return next(iter(outputs.values()))
        return {name: outputs[name] for name in sorted(outputs)}

    def arrange(samples: Arrays) -> dict[str, np.ndarray]:
        arrays = named_or_listed(samples, list(specs))
        return {
            name: np.asarray(array).astype(specs[name].dtype.as_numpy_dtype)
            for name, array in zip(specs, arrays, strict=True)
        }

    return tf.function(serve), arrange


def _load_saved_model(path: Path) -> Any:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a SavedModel ({one_line(error)}); expected one") from error
    if "serving_default" not in loaded.signatures:
        raise ModelError(f"{path}: a SavedModel without the signature serving_default; export one")
    return loaded


def _run_once(target: Any, prepare: Callable[[], Callable[[], Any]]) -> Callable[[], Any]:
    """Prepare a call and make it once, so that a failure shows before any timing."""
    try:
        call = prepare()
        call()
    except KoptError:
        raise
    except Exception as error:
        raise MeasurementError(
            f"{_name(target)} does not run on the sample: {one_line(error)}; give it an input it "
            "takes"
        ) from error
    return call


def _name(target: Any) -> str:
    if isinstance(target, str | Path):
        return str(target)
    return str(getattr(target, "name", type(target).__name__))
