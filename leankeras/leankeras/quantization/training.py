"""Quantization-aware training of Keras 3 models.

The model is folded, rebuilt in tf_keras, given fake quantization (Jacob et al. 2018, "Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference") by
tensorflow-model-optimization, calibrated and fine-tuned.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import (
    QuantizeLayer,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import (
    QuantizeWrapperV2,
)

from leankeras.arrays import first, identifier
from leankeras.data import Data
from leankeras.errors import ModelError, ParameterError
from leankeras.graph import (
    consumers,
    flat_layers,
    input_names,
    named_outputs,
    unrolled,
    without_dropout,
)
from leankeras.keras_faults import without_faults
from leankeras.objective import find_objective
from leankeras.quantization.folding import fold
from leankeras.quantization.layout import FoldedScheme
from leankeras.quantization.preserving import PRESERVE, KeepWeights
from leankeras.quantization.ranges import calibrate
from leankeras.quantization.schemes import (
    CUSTOM_OBJECTS,
    FLOAT,
    GENERIC,
    NATIVE,
    Scheme,
    annotate,
    is_native,
    schemes_of,
)
from leankeras.quantization.ties import is_joining, is_passing, untie
from leankeras.training import fit
from leankeras.twin import KerasOperation, Twin

LEARNING_RATE = 1e-4
# For operations that compute a mask outside the graph of the model.
MASK = Scheme(FLOAT, "computes a mask")
# They read tables or hash strings, for which LiteRT has no operators.
TABLES = (
    keras.layers.IntegerLookup, keras.layers.StringLookup, keras.layers.TextVectorization,
    keras.layers.Hashing, keras.layers.HashedCrossing,
)  # fmt: skip
ENCODING = keras.layers.CategoryEncoding


@dataclass(frozen=True)
class QuantizedModel:
    """A model fine-tuned under fake quantization.

    Attributes:
        model: the folded Keras 3 model with the fine-tuned float weights. It lacks the ranges of
            the activations, so it is not the one to convert.
        tf_keras: the quantization-aware tf_keras model.
        coverage: its table from ``quantization_coverage``.
        kept: with ``preserve``, a row for each kernel: ``layer``, ``sparsity`` before,
            ``zeros_kept`` (the share of the zeros that are still zero), ``distinct_before`` and
            ``distinct_after`` (numbers of different weights); else None.

    Example:
        >>> quantized = leankeras.train_quantized(model, data)
        >>> leankeras.convert(quantized, "model.tflite", "int8", data.x_train[:200])
    """

    model: keras.Model
    tf_keras: tf_keras.Model
    coverage: pd.DataFrame = field(repr=False)
    kept: pd.DataFrame | None = field(repr=False)

    def __call__(self, x: Any, training: bool = False) -> tf.Tensor:
        """Run samples of shape ``(n, ...)`` through the fake-quantized model."""
        return self.tf_keras(x, training=training)

    def export(self, directory: str | Path, batch_size: int = 1) -> None:
        """Write a SavedModel that holds the fake quantization and needs no Keras to load.

        Args:
            directory: where to write it.
            batch_size: the fixed batch size of its only signature, ``serving_default``.
        """
        model, names = self.tf_keras, input_names(self.model)
        signature = ["x"] if len(names) == 1 else [identifier(name) for name in names]
        specs = [
            tf.TensorSpec((batch_size, *tensor.shape[1:]), tensor.dtype, name=name)
            for name, tensor in zip(signature, model.inputs, strict=True)
        ]

        @tf.function(input_signature=specs, autograph=False)
        def serve(*arrays: tf.Tensor) -> dict[str, tf.Tensor]:
            x = arrays[0] if len(names) == 1 else dict(zip(names, arrays, strict=True))
            return named_outputs(model(x, training=False))

        with ExitStack() as tracing:
            tracing.enter_context(without_faults())
            for layer in _keras_layers(model):
                tracing.enter_context(without_dropout(layer))
                tracing.enter_context(unrolled(layer))
            function = serve.get_concrete_function()
        holder = tf.Module()
        # the graph holds them in no particular order, and the file would differ from run to run
        holder.captured = sorted(function.graph.variables, key=lambda variable: variable.name)
        tf.saved_model.save(holder, str(directory), signatures={"serving_default": function})


def train_quantized(
    model: keras.Model,
    data: Data,
    epochs: int = 2,
    preserve: str | None = None,
    verbose: int = 1,
) -> QuantizedModel:
    """Fine-tune a trained model under 8-bit fake quantization.

    First BatchNormalization is folded, nested models are flattened, and activation ranges are
    calibrated on the training samples. Every layer is trained.

    Args:
        model: a trained Keras 3 model; it is not changed.
        data: what to fine-tune on.
        epochs: passes over the training samples; with 0 the ranges are only calibrated.
        preserve: what to keep of earlier compression: ``"sparsity"`` (zero weights stay zero),
            ``"clusters"`` (equal weights stay equal), or ``"both"``.
        verbose: 0 prints nothing; 1 prints the coverage before training starts.

    Returns:
        A :class:`QuantizedModel`, which ``leankeras.convert`` accepts.

    Raises:
        ParameterError: an unknown ``preserve``, or fewer than 0 epochs.
        ModelError: the model does not fit the data, holds nothing to quantize, or a layer that
            LiteRT cannot run.
        TwinError: the model cannot be rebuilt in tf_keras.

    Example:
        >>> quantized = leankeras.train_quantized(model, data, epochs=2)
        >>> quantized.coverage.scheme.value_counts()
    """
    if preserve not in (None, *PRESERVE):
        raise ParameterError(f"preserve {preserve!r}; expected None, {', '.join(PRESERVE)}")
    if epochs < 0:
        raise ParameterError(f"epochs is {epochs}; expected 0 or more")
    objective = find_objective(model, data)
    folded = untie(fold(model, first(data.x_train)))
    schemes = _schemes(folded)
    coverage = _table(folded, schemes)
    if verbose:
        print(coverage.to_string(index=False))
    twin = Twin.of(folded, allow_native=is_native)
    aware = _make_aware(twin, schemes)
    calibrate(aware, data.x_train)
    variables = _variables_by_layer(aware)
    keeper = KeepWeights(preserve, variables) if preserve else None
    if epochs:
        fit(
            aware,
            data,
            epochs,
            learning_rate=LEARNING_RATE,
            objective=objective,
            framework=tf_keras,
            callbacks=[keeper] if keeper else [],
        )
    weights = {
        # 1-D convolutions in their 2-D form have kernels of rank 4.
        name: [v.numpy().reshape(w.shape) for v, w in zip(variables[name], wanted, strict=True)]
        for name in twin.layers
        if (wanted := twin.weights_of(name))
    }
    return QuantizedModel(
        model=twin.with_weights(weights),
        tf_keras=aware,
        coverage=coverage,
        kept=keeper.measure() if keeper else None,
    )


def quantization_coverage(model: keras.Model) -> pd.DataFrame:
    """List, layer by layer, how quantization-aware training would treat a model.

    Args:
        model: a built Keras 3 model.

    Returns:
        A row for each layer of the folded model, in order: ``layer``, ``type``, ``scheme``
        (``"native"``: a scheme of tensorflow-model-optimization; ``"generic"``: weights and
        output; ``"nothing to quantize"``; ``"at conversion"``: training does not simulate it;
        ``"left in float"``) and ``reason``.

    Raises:
        ModelError: the model is not built, or holds nothing to quantize.

    Example:
        >>> leankeras.quantization.training.quantization_coverage(model)
    """
    folded = untie(fold(model))
    return _table(folded, _schemes(folded))


def _schemes(folded: keras.Model) -> dict[str, Scheme]:
    for layer in flat_layers(folded):
        counts = getattr(layer, "output_mode", None) in ("multi_hot", "count")
        if isinstance(layer, TABLES) or (isinstance(layer, ENCODING) and counts):
            raise ModelError(
                f"LiteRT has no operator for {layer.name} ({type(layer).__name__}); leave it out "
                "of the model and train on its output"
            )
    schemes = schemes_of(folded)
    if not any(
        schemes[layer.name].kind in (NATIVE, GENERIC) and layer.weights
        for layer in folded.layers
        if layer.name in schemes
    ):
        raise ModelError(f"{folded.name} has no layer with weights to quantize")
    return schemes


def _table(folded: keras.Model, schemes: dict[str, Scheme]) -> pd.DataFrame:
    types = {operation.name: type(operation).__name__ for operation in folded.operations}
    return pd.DataFrame(
        [(name, types[name], scheme.kind, scheme.reason) for name, scheme in schemes.items()],
        columns=["layer", "type", "scheme", "reason"],
    )


def _make_aware(twin: Twin, schemes: dict[str, Scheme]) -> tf_keras.Model:
    """Insert fake quantization into a twin."""

    def mark(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        operation = layer.operation if isinstance(layer, KerasOperation) else layer
        return annotate(layer, schemes.get(operation.name, MASK))

    annotated = tf_keras.models.clone_model(twin.model, clone_function=mark)
    # Layers that were exchanged for their 2-D form have no weights yet.
    for layer in annotated.layers:
        layer = getattr(layer, "layer", layer)
        original = twin.model.get_layer(layer.name)
        if layer is not original and not isinstance(layer, tf_keras.layers.InputLayer):
            values = zip(layer.weights, original.get_weights(), strict=True)
            layer.set_weights([value.reshape(weight.shape) for weight, value in values])
    with tfmot.quantization.keras.quantize_scope(CUSTOM_OBJECTS):
        aware = tfmot.quantization.keras.quantize_apply(annotated, FoldedScheme())
    if not all(_takes_fixed_range(each, schemes) for each in _input_readers(twin.source)):
        # Conversion gives the inside of a generic layer its own ranges. If that reads the input, a
        # range fixed here would put a float tensor between the two.
        for layer in aware.layers:
            if isinstance(layer, QuantizeLayer):
                layer.quantizer = None
    return aware


def _input_readers(folded: keras.Model) -> Iterator[keras.Operation]:
    """Yield the first operations that compute with the input, past those that only pass it on."""
    operations = [layer for layer in folded.layers if isinstance(layer, keras.layers.InputLayer)]
    while operations:
        for node in consumers(operations.pop()):
            if is_passing(node.operation):
                operations.append(node.operation)
            else:
                yield node.operation


def _takes_fixed_range(reader: keras.Operation, schemes: dict[str, Scheme]) -> bool:
    """Whether a reader of the input allows training to fix the input's range."""
    if isinstance(reader, keras.layers.Embedding) or is_joining(reader):
        return False  # indices must not be rounded, and joined tensors are clipped
    return schemes.get(reader.name, MASK).kind == NATIVE


def _variables_by_layer(aware: tf_keras.Model) -> dict[str, list[tf.Variable]]:
    """List the weights of a quantization-aware model under the names of the twin's layers."""
    variables = {}
    for layer in aware.layers:
        if isinstance(layer, QuantizeWrapperV2):
            # The layer inside has handed its quantized weights to the wrapper.
            inner = layer.layer
            variables[inner.name] = layer.trainable_weights + inner.non_trainable_weights
        else:
            variables[layer.name] = layer.weights
    return variables


def _keras_layers(aware: tf_keras.Model) -> list[keras.Layer]:
    """The layers of Keras 3 that run inside a model of tf_keras."""
    layers = [getattr(layer, "layer", layer) for layer in aware.layers]
    operations = [layer.operation for layer in layers if isinstance(layer, KerasOperation)]
    return [operation for operation in operations if isinstance(operation, keras.Layer)]
