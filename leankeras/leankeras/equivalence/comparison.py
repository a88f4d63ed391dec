"""Whether a rewritten layer computes the same function as the layer it replaces.

The reference's weights are perturbed (:mod:`leankeras.equivalence.perturbation`) and ported to the
candidate; both are called on inputs of every kind (:mod:`.probes`); what counts
as equal is in :mod:`leankeras.equivalence.tolerance`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd

from leankeras.equivalence.gradients import gradients, slopes
from leankeras.equivalence.perturbation import kept, perturb, read, write
from leankeras.equivalence.probes import (
    BATCH,
    check_samples,
    check_shape,
    flat_shapes,
    make_inputs,
    pack,
)
from leankeras.equivalence.tolerance import (
    RELATIVE,
    RELATIVE_16_BIT,
    RELATIVE_GRADIENT,
    RELATIVE_REPEAT,
    Distance,
    distance,
)
from leankeras.errors import EquivalenceError, one_line

RELATIVE_ROUNDING = 2.0**-22

Port = Callable[[keras.Layer, keras.Layer], Any]


@dataclass(frozen=True, eq=False, repr=False)
class Equivalence:
    """The answer of :func:`check_equivalence`.

    Args:
        equivalent: whether candidate and reference agreed on every probe.
        max_abs_diff: largest absolute difference of their outputs over all probes; inf where the
            outputs have other shapes.
        reason: one line: what agreed, or on which probe and where they first parted.
        probes: a row for each comparison: ``probe`` (kind of input), ``compared`` (output,
            gradient), ``equal``, ``max_abs_diff``, ``tolerance`` (at the worst place), ``where``
            (index of the worst place, batch first).
    """

    equivalent: bool
    max_abs_diff: float
    reason: str
    probes: pd.DataFrame

    def __str__(self) -> str:
        verdict = "equivalent" if self.equivalent else "NOT equivalent"
        return f"{verdict}: {self.reason}"

    def __repr__(self) -> str:
        return f"{self}\n{self.probes.to_string(index=False)}" if len(self.probes) else str(self)

    def _repr_html_(self) -> str:
        verdict = "Equivalent" if self.equivalent else "Not equivalent"
        table = self.probes.to_html(index=False, border=0, float_format="{:.2e}".format)
        return f"<p><b>{verdict}</b>: {self.reason}</p>{table}"


def check_equivalence(
    reference: keras.Layer,
    candidate: keras.Layer,
    input_shape: Any,
    port: Port | None = None,
    samples: Any = None,
) -> Equivalence:
    """Try whether ``candidate`` computes what ``reference`` computes, with the same weights.

    Outputs are compared in inference and, where the reference is not random there, in training
    mode; gradients with respect to inputs and to weights, where the reference has them. Weight
    gradients are compared through ``port``: moving one weight of the reference and porting it
    must change the loss at the same rate. Both objects are built if they were not, and both are
    left with the weights they came with. The random numbers are seeded.

    Args:
        reference: the layer or model that is right.
        candidate: the layer or model that should do the same.
        input_shape: shape of one sample, without the batch, such as ``(128, 6)``; a list or a
            dict of shapes where the layer takes a list or a dict of inputs.
        port: ``port(reference, candidate)`` sets the candidate's weights from the reference's.
            Without it, weights are copied in order, which needs the same shapes on both sides.
        samples: inputs of your own, shape ``(n, *input_shape)``, tried beside the generated
            ones; needed where inputs are whole numbers (token ids), which cannot be invented.

    Raises:
        EquivalenceError: nothing could be compared: an input that one of them rejects, weights
            that do not fit, a failing ``port``, a layer that is random at inference.

    Example:
        >>> slow, fast = CustomConv(64), keras.layers.Conv1D(64, 9)
        >>> leankeras.check_equivalence(slow, fast, (256, 16), port=stack_filters)
        equivalent: outputs and gradients agree on 9 probes
    """
    for name, layer in (("reference", reference), ("candidate", candidate)):
        if not isinstance(layer, keras.Layer):
            raise EquivalenceError(
                f"{name} is a {type(layer).__name__}; expected an instance of keras.Layer or Model"
            )
    input_shape = check_shape(input_shape)
    shapes = flat_shapes(input_shape)
    checked = None if samples is None else check_samples(samples, shapes)
    if checked is None and any(_takes_whole_numbers(layer) for layer in (reference, candidate)):
        raise EquivalenceError("the inputs are whole numbers; give some of your own as samples")
    batches = [(kind, pack(input_shape, arrays)) for kind, arrays in make_inputs(shapes, checked)]

    expected = _first_call("reference", reference, batches[0][1], input_shape)
    seen = _first_call("candidate", candidate, batches[0][1], input_shape)
    if [(part.shape, part.dtype) for part in seen] != [
        (part.shape, part.dtype) for part in expected
    ]:
        reason = f"candidate's outputs are {_describe(seen)}, reference's {_describe(expected)}"
        return Equivalence(False, float("inf"), reason, pd.DataFrame())
    with kept(reference, candidate):
        perturb(reference)
        _port(reference, candidate, port)
        _refuse_random("reference", reference, batches[0][1])
        _refuse_random("candidate", candidate, batches[0][1])
        rows = []
        for kind, inputs in batches:
            rows += _compare_outputs(reference, candidate, kind, inputs)
        rows += _compare_training(reference, candidate, batches[0][1])
        rows += _compare_gradients(reference, candidate, port, batches[0][1])
    return _conclude(pd.DataFrame(rows))


def _call(layer: keras.Layer, inputs: Any, training: bool = False) -> list[np.ndarray]:
    return [np.asarray(part) for part in keras.tree.flatten(layer(inputs, training=training))]


def _first_call(name: str, layer: keras.Layer, inputs: Any, input_shape: Any) -> list[np.ndarray]:
    # Whatever a user's layer raises belongs in one line that names the layer and the input.
    try:
        return _call(layer, inputs)
    except Exception as error:
        raise EquivalenceError(
            f"{name} {layer.name} rejects a batch of {BATCH} samples of shape {input_shape} (the "
            f"shape of one sample, without the batch): {one_line(error)}"
        ) from error


def _describe(outputs: list[np.ndarray]) -> str:
    return ", ".join(f"{part.shape} {part.dtype}" for part in outputs)


def _takes_whole_numbers(layer: keras.Layer) -> bool:
    if isinstance(layer, keras.layers.Embedding):
        return True
    tensors = keras.tree.flatten(getattr(layer, "inputs", None) or [])
    return any(tensor.dtype.startswith(("int", "uint")) for tensor in tensors)


def _port(reference: keras.Layer, candidate: keras.Layer, port: Port | None) -> None:
    if port is None:
        shapes = [tuple(weight.shape) for weight in reference.weights]
        others = [tuple(weight.shape) for weight in candidate.weights]
        if shapes != others:
            raise EquivalenceError(
                f"reference has weights of shapes {shapes} and candidate {others}; "
                "give port=, a function (reference, candidate) that copies them over"
            )
        for weight, other in zip(reference.weights, candidate.weights, strict=True):
            other.assign(weight)
        return
    before = [weight.numpy() for weight in reference.weights]
    try:
        port(reference, candidate)
    except Exception as error:
        raise EquivalenceError(f"port failed: {one_line(error)}") from error
    for weight, value in zip(reference.weights, before, strict=True):
        if not np.array_equal(weight.numpy(), value):
            raise EquivalenceError(
                f"port changed the reference's {weight.path}; it is to set the candidate's weights"
            )


def _refuse_random(name: str, layer: keras.Layer, inputs: Any) -> None:
    for first, second in zip(_call(layer, inputs), _call(layer, inputs), strict=True):
        if not distance(first, second, RELATIVE_REPEAT).equal:
            raise EquivalenceError(
                f"{name} {layer.name} is random at inference or changes its state: two calls on "
                "the same input gave different outputs; heed training=False"
            )


def _compare_outputs(
    reference: keras.Layer, candidate: keras.Layer, kind: str, inputs: Any
) -> list[dict]:
    expected = _call(reference, inputs)
    rounded = _call(reference, keras.tree.map_structure(_round_differently, inputs))
    seen = _call(candidate, inputs)
    rows = []
    for number, (wanted, given, moved) in enumerate(zip(expected, seen, rounded, strict=True)):
        with np.errstate(invalid="ignore"):
            wobble = np.abs(moved.astype("float64") - wanted.astype("float64"))
        allowance = 4 * float(np.nanmax(wobble, initial=0.0))
        name = "output" if len(expected) == 1 else f"output {number}"
        relative = RELATIVE if wanted.dtype.itemsize > 2 else RELATIVE_16_BIT
        rows.append(_row(kind, name, distance(wanted, given, relative, allowance)))
    return rows


def _round_differently(tensor: Any) -> Any:
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)):
        return tensor
    noise = np.random.default_rng(0).choice([-1, 1], tensor.shape)
    return keras.ops.convert_to_tensor(
        (np.asarray(tensor) * (1 + RELATIVE_ROUNDING * noise)).astype("float32")
    )


def _compare_training(reference: keras.Layer, candidate: keras.Layer, inputs: Any) -> list[dict]:
    # The seeds move on: a layer that is random in training draws other numbers each time.
    start = read(reference.weights + candidate.weights)
    calls = []
    for layer in (reference, reference, candidate):
        calls.append(_call(layer, inputs, training=True))
        write(start)
    rows = []
    for first, second, seen in zip(*calls, strict=True):
        if distance(first, second, RELATIVE_REPEAT).equal:  # else random, as dropout should be
            apart = distance(first, seen, RELATIVE_GRADIENT)
            rows.append(_row("random", "output in training", apart))
    return rows


def _compare_gradients(
    reference: keras.Layer, candidate: keras.Layer, port: Port | None, inputs: Any
) -> list[dict]:
    expected_inputs, expected_weights = gradients(reference, inputs)
    seen_inputs, seen_weights = gradients(candidate, inputs)
    rows = []
    for expected, seen in zip(expected_inputs, seen_inputs, strict=True):
        if expected is not None:
            given = np.zeros_like(expected) if seen is None else seen
            apart = distance(expected, given, RELATIVE_GRADIENT)
            rows.append(_row("random", "gradient of input", apart))
    if not candidate.trainable_weights:  # made for inference only
        return rows
    ported = list(
        slopes(
            reference,
            candidate,
            lambda: _port(reference, candidate, port),
            expected_weights,
            seen_weights,
        )
    )
    # A gradient that is zero in theory (a bias before a softmax) is all rounding noise.
    noise = 0.1 * RELATIVE_GRADIENT * max((scale for *_, scale in ported), default=0.0)
    for name, expected, seen, scale in ported:
        difference, tolerance = abs(seen - expected), max(RELATIVE_GRADIENT * scale, noise)
        if np.isfinite(expected):
            equal = bool(difference <= tolerance)
            apart = Distance(equal, difference, tolerance, "")
            rows.append(_row("random", f"gradient of {name}", apart))
    return rows


def _row(probe: str, compared: str, distance: Distance) -> dict:
    return {"probe": probe, "compared": compared, **asdict(distance)}


def _conclude(probes: pd.DataFrame) -> Equivalence:
    outputs = probes[probes.compared.str.startswith("output")]
    largest = float(outputs.max_abs_diff.max())
    failed = probes[~probes.equal]
    if failed.empty:
        gradient = " and gradients" if len(outputs) < len(probes) else ""
        reason = f"outputs{gradient} agree on {probes.probe.nunique()} kinds of input"
        return Equivalence(True, largest, reason, probes)
    first = failed.iloc[0]
    place = f" at index {first['where']}" if first["where"] else ""
    reason = (
        f"on probe '{first.probe}' the {first.compared} is off by {first.max_abs_diff:.3g}{place}, "
        f"tolerance {first.tolerance:.1g}; {len(failed)} of {len(probes)} comparisons differ"
    )
    return Equivalence(False, largest, reason, probes)
