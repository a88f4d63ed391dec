"""A Keras 3 model exported as one TensorFlow function at batch 1, ready to be converted.

Custom layers are Python code that only this process has; a SavedModel holds their operations, so
the converting process does not need the code.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from leankeras.conversion.signature import InputSpec
from leankeras.errors import ConversionError, one_line
from leankeras.graph import flat_layers, named_outputs, unrolled, without_dropout
from leankeras.keras_faults import without_faults

SIGNATURE = "serving_default"
CHECKED_SAMPLES = 4


@dataclass(frozen=True)
class Export:
    """A SavedModel with one signature at batch 1, and what is not in the file itself.

    Attributes:
        directory: the SavedModel.
        inputs: the signature's inputs by name, in the model's order.
        layers: paths of the model's layers as used in the names of operations; empty for a
            user's SavedModel.
        output_layers: output name to the operation that computes it; also empty then.
        reference: the model itself: takes samples by input name and a time limit in seconds, and
            returns outputs by output name, of as many of the first samples as time allowed.
        quantized: whether it holds fake quantization.
    """

    directory: Path
    inputs: dict[str, InputSpec]
    reference: Callable[[dict[str, np.ndarray], float], dict[str, np.ndarray]]
    layers: frozenset[str] = frozenset()
    output_layers: dict[str, str] = field(default_factory=dict)
    quantized: bool = False


def export_model(
    model: keras.Model,
    directory: str | Path,
    inputs: dict[str, InputSpec],
    structure: Any,
    batch_size: int | None = 1,
) -> Export:
    """Trace a model for inference and write it as a SavedModel.

    At batch 1 recurrent layers are unrolled, since loops do not convert. Everything computes in
    float32. The model itself is not changed.

    Args:
        model: a built Keras 3 model.
        directory: where the SavedModel goes.
        inputs: the inputs, from :func:`leankeras.conversion.signature.model_inputs`.
        structure: their nesting, from the same function.
        batch_size: 1 to convert, None to serve batches of any size.

    Raises:
        ConversionError: the model cannot be traced, or a layer keeps its state between calls.
    """
    import tensorflow as tf

    _check_stateless(model)
    specs = {
        name: tf.TensorSpec((batch_size, *spec.shape), spec.dtype, name=name)
        for name, spec in inputs.items()
    }

    @tf.function(input_signature=[specs], autograph=False)
    def serve(arrays: dict[str, Any]) -> dict[str, Any]:
        arguments = keras.tree.map_structure(lambda name: arrays[name], structure)
        return named_outputs(model(arguments, training=False))

    holder = tf.Module()
    layers: set[str] = set()
    with _in_float32(model), _for_tracing(model, layers, unroll=batch_size == 1):
        try:
            function = serve.get_concrete_function()
        except Exception as error:
            shapes = ", ".join(str((batch_size, *spec.shape)) for spec in inputs.values())
            raise ConversionError(
                f"{model.name} cannot be traced as a graph at input shape {shapes}: "
                f"{one_line(error)}"
            ) from error
    holder.captured = list(function.graph.variables)
    try:
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(holder, str(directory), {SIGNATURE: function}, options)
    except AssertionError as error:  # which TensorFlow raises for a table that nothing tracks
        raise ConversionError(
            f"{model.name} uses an object that no layer holds ({one_line(error)}); keep lookup "
            "tables and variables as attributes of a layer"
        ) from error
    output_layers = {
        name: _source_name(tensor) for name, tensor in function.structured_outputs.items()
    }
    # Operations between layers count as layers of their own.
    layers |= {
        operation.name
        for operation in function.graph.get_operations()
        if operation.name.rpartition("/")[0] == model.name
    }
    return Export(
        directory=Path(directory),
        inputs=inputs,
        reference=partial(_run_checked, model, structure, function),
        layers=frozenset(layers),
        output_layers=output_layers,
    )


def _check_stateless(model: keras.Model) -> None:
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ConversionError(
                f"layer {layer.name} is stateful: it goes on where the last call ended, and a file "
                "cannot; build the model with stateful=False, with the states as inputs "
                "(initial_state) and outputs (return_state=True) if they are to be carried over"
            )


def run_model(
    model: keras.Model, structure: Any, samples: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The outputs of a model, not traced, by name, run sample by sample as in deployment.

    Args:
        model: a built Keras 3 model.
        structure: the nesting of its inputs, from :func:`.signature.model_inputs`.
        samples: input name to samples ``(n, ...)``.
    """
    runs = []
    with _in_float32(model), without_faults():
        for sample in _tensors(samples):
            arguments = keras.tree.map_structure(sample.__getitem__, structure)
            runs.append(_numpy(named_outputs(model(arguments, training=False))))
    return _joined(runs)


def _run_checked(
    model: keras.Model,
    structure: Any,
    function: Callable,
    samples: dict[str, np.ndarray],
    seconds: float,
) -> dict[str, np.ndarray]:
    """The outputs of a model, after checking that it computes the same when traced."""
    first = {name: array[:CHECKED_SAMPLES] for name, array in samples.items()}
    outputs = run_model(model, structure, first)
    runs, deadline = [], math.inf
    for sample in _tensors(samples):
        if len(runs) == CHECKED_SAMPLES:  # the first take longer than the others
            deadline = time.perf_counter() + seconds
        if time.perf_counter() > deadline:
            break
        runs.append(_numpy(function(**sample)))
    traced = _joined(runs)
    for name, expected in outputs.items():
        seen = traced[name][: len(expected)]
        if not np.allclose(seen, expected, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise ConversionError(
                f"{model.name} gives a different {name} when called again as a graph (Python state "
                "changed in call, or randomness at inference), so no file can equal it; run "
                "leankeras.diagnose on it"
            )
        seen[:] = expected
    return traced


def _tensors(samples: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for index in range(len(next(iter(samples.values())))):
        yield {
            name: keras.ops.convert_to_tensor(array[index : index + 1])
            for name, array in samples.items()
        }


def _numpy(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def _joined(runs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


@contextmanager
def _in_float32(model: keras.Model) -> Iterator[None]:
    """Make every layer compute in float32, as in deployment; LiteRT has no half precision."""
    with ExitStack() as undo:
        for layer in flat_layers(model):
            if layer.compute_dtype in ("float16", "bfloat16", "float64"):
                undo.callback(setattr, layer, "dtype_policy", layer.dtype_policy)
                layer.dtype_policy = "float32"
        yield


@contextmanager
def _for_tracing(model: keras.Model, layers: set[str], unroll: bool) -> Iterator[None]:
    """Make recurrent layers unroll, and every layer name its operations after itself."""
    with ExitStack() as undo:
        undo.enter_context(without_dropout(model))
        undo.enter_context(without_faults())
        if unroll:
            undo.enter_context(unrolled(model))
        for layer in flat_layers(model):
            # Keras opens a layer's scope twice, and TensorFlow numbers the second: "dense" becomes
            # "dense_1", which may be another layer's name.
            undo.callback(layer.__dict__.pop, "_open_name_scope", None)
            layer.__dict__["_open_name_scope"] = _exact_scope(layer.name, layers)
        yield


def _exact_scope(name: str, layers: set[str]):
    import tensorflow as tf

    @contextmanager
    def open_scope() -> Iterator[None]:
        outer = tf.get_current_name_scope()
        path = f"{outer}/{name}" if outer else name
        layers.add(path)
        # A trailing slash re-enters the scope of exactly this name.
        with tf.name_scope(f"{path}/"):
            yield

    return open_scope


def _source_name(tensor: Any) -> str:
    """The name of the operation that computed an output, ignoring identities after it."""
    operation = tensor.op
    while operation.type in ("Identity", "IdentityN") and operation.inputs:
        operation = operation.inputs[0].op
    return operation.name
