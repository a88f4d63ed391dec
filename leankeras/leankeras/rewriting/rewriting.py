"""A slow layer's fast twin: found, measured, proved, and written out."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from leankeras.equivalence import (
    Callee,
    Equivalence,
    Pair,
    check_equivalence,
    check_shape,
    flat_shapes,
    kept,
)
from leankeras.errors import EquivalenceError, RewriteError
from leankeras.graph import is_graph
from leankeras.rewriting import measurement
from leankeras.rewriting.drafts import Draft, Drafts
from leankeras.rewriting.report import steps_in_words

SILENT_SECONDS = 5
Measure = Callable[[dict[str, keras.Model], Any], Any]


@dataclass(frozen=True, eq=False, repr=False)
class Rewriting:
    """What :func:`rewrite` found.

    Attributes:
        layer: the new layer, built, with the old one's weights.
        source: it as Python, with a ``port(old, new)``; runs by itself.
        port: ``port(old, new)`` carries the weights over, for any two layers like these.
        steps: what was merged, in words.
        equivalence: the proof; of a model that of the layer that differs most.
        nodes: operations that depend on the input, before and after.
        latency: the comparison that it was chosen by; None where it was not measured.
        name: of the new layer among the drafts.
        for_inference: whether the two are the same at inference only.
    """

    layer: keras.Layer
    source: str
    port: Callable[[keras.Layer, keras.Layer], None] = field(repr=False)
    steps: tuple[str, ...]
    equivalence: Equivalence
    nodes: tuple[int, int]
    latency: Any = None
    name: str = ""
    for_inference: bool = False

    def summary(self) -> str:
        """What was found, in a few lines, without the source."""
        lines = [f"{self.layer.name}: {self.nodes[0]} operations to {self.nodes[1]}{self._faster}"]
        if self.for_inference:
            lines.append("  the same at inference only")
        lines += [f"  {step}" for step in self.steps]
        return "\n".join([*lines, f"  {self.equivalence}".replace("\n", "\n  ")])

    def __str__(self) -> str:
        return f"{self.summary()}\n\n{self.source}"

    __repr__ = __str__

    @property
    def _faster(self) -> str:
        if self.latency is None:
            return ""
        return f", {self.latency.speedup(self.name)} as fast"

    def _repr_html_(self) -> str:
        from html import escape

        steps = "".join(f"<li>{escape(step)}</li>" for step in self.steps)
        return (
            f"<p><b>{self.layer.name}</b>: {self.nodes[0]} operations to {self.nodes[1]}"
            f"{self._faster}</p><ul>{steps}</ul><p>{escape(str(self.equivalence))}</p>"
            f"<pre>{escape(self.source)}</pre>"
        )


class InferenceOnly(keras.Layer):
    """A layer as it is at inference, also in training."""

    def __init__(self, layer: keras.Layer, callee: Callee) -> None:
        super().__init__(autocast=False)
        self.layer = layer
        self._callee = callee
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """What the layer computes with ``training=False``."""
        return self._callee.nested(keras.tree.flatten(inputs), training=False)


def rewrite_layer(
    layer: keras.Layer,
    input_shape: Any = None,
    for_inference: bool = False,
    measure: Measure | None = None,
    say: Callable[[str], None] | None = None,
) -> Rewriting:
    """See :func:`leankeras.rewrite`.

    Args:
        layer: a layer, not a model.
        input_shape: the shape of one sample.
        for_inference: whether only inference has to be the same.
        measure: takes models by name and a sample, and gives a comparison of their latencies.
        say: is told how far it is.
    """
    measure = measure or measurement.measure
    callee, arrays = _settled(layer, input_shape)
    with kept(layer):
        drafts = Drafts(callee, arrays, for_inference, say or _Progress(layer.name)).make()
    one = [array[:1] for array in arrays]

    def nested(called: keras.Layer, inputs: list[Any]) -> Any:
        return Callee("candidate", called, callee.input_shape).nested(inputs)

    def as_model(called: keras.Layer) -> keras.Model:
        # Wrapped, since a layer that is called on symbolic inputs remembers them.
        how = callee if called is layer else Callee("candidate", called, callee.input_shape)
        return measurement.as_model(InferenceOnly(called, how), arrays, nested)

    try:
        models = {measurement.SLOW: as_model(layer)}
    except EquivalenceError as error:
        raise RewriteError(f"{layer.name} does not run on one sample: {error}") from error
    layers: dict[str, keras.Layer] = {}
    for draft in drafts:
        new = draft.made.layer(layer.name)
        if not new.built:  # one of Keras's own, which has one input
            new.build((None, *callee.input_shape))
        draft.made.port(layer, new)
        models[draft.name] = as_model(new)
        layers[draft.name] = new
    latency = measure(models, one[0] if len(one) == 1 else one)
    return _fastest_proved(layer, callee, drafts, layers, latency, for_inference)


def _fastest_proved(
    layer: keras.Layer, callee: Callee, drafts: list[Draft], layers: dict[str, keras.Layer],
    latency: Any, for_inference: bool,
) -> Rewriting:  # fmt: skip
    from leankeras.rewriting.source import print_source

    by_name = {draft.name: draft for draft in drafts}
    table = latency.table.drop(measurement.SLOW).sort_values("ratio")
    reason = ""
    for name in table.index:
        if table.ratio_high[name] >= 1:  # on a busy machine the verdict is "cannot tell"
            reason = reason or f"no faster in LiteRT: {latency.speedup(name)}"
            break
        draft, new = by_name[name], layers[name]
        proof = _proof(layer, callee, draft, new, for_inference)
        if proof.equivalent:
            return Rewriting(
                layer=new,
                source=print_source(draft, layer, callee.input_shape),
                port=draft.made.port,
                steps=steps_in_words(draft, layer),
                equivalence=proof,
                nodes=draft.nodes,
                latency=latency,
                name=name,
                for_inference=for_inference,
            )
        reason = reason or f"cannot be proved: {proof.verdict}: {proof.reason}"
    raise RewriteError(f"{layer.name}: {reason or 'no draft of it converts to LiteRT'}")


def _proof(
    layer: keras.Layer, callee: Callee, draft: Draft, new: keras.Layer, for_inference: bool
) -> Equivalence:
    def port(old: keras.Layer, fast: keras.Layer) -> None:
        draft.made.port(layer, fast)

    reference = InferenceOnly(layer, callee) if for_inference else layer
    try:
        return check_equivalence(reference, new, callee.input_shape, port=port)
    except EquivalenceError as error:
        raise RewriteError(f"{layer.name} cannot be proved: {error}") from error


def _settled(layer: Any, input_shape: Any) -> tuple[Callee, list[np.ndarray]]:
    """How a layer is called, and a batch for it.

    Raises:
        RewriteError: not a layer, no shape, or inputs that it rejects.
    """
    if not isinstance(layer, keras.Layer) or is_graph(layer):
        raise RewriteError(f"got {type(layer).__name__}; expected a Keras layer")
    if input_shape is None:
        input_shape = _known_shape(layer)
    try:
        shape = check_shape(input_shape)
        callee = Callee("layer", layer, shape)
        if "mask" in callee.argument_names():
            raise RewriteError(f"{layer.name} takes a mask, which a rewritten layer would ignore")
        pair = Pair(callee, Callee("layer", layer, shape), None)
        with kept(layer):
            arrays, _, _ = pair.settle(flat_shapes(shape), None)
    except EquivalenceError as error:
        raise RewriteError(str(error)) from error
    return callee, arrays


def _known_shape(layer: keras.Layer) -> Any:
    config = layer.get_build_config() or {}
    shape = config.get("input_shape", config.get("shapes_dict"))
    if not layer.built or not shape:
        raise RewriteError(
            f"{layer.name} has no known input shape; give input_shape, the shape of one sample "
            "without the batch, such as (64, 32)"
        )

    def sample(part: Any) -> Any:
        if isinstance(part, dict):
            return [sample(each) for each in part.values()]
        if all(size is None or isinstance(size, int) for size in part):
            return tuple(part[1:])
        return [sample(each) for each in part]

    found = sample(shape)
    if any(size is None for each in keras.tree.flatten([found]) for size in [each]):
        raise RewriteError(
            f"{layer.name} was built for inputs of shape {shape}; give input_shape with a number "
            "in place of each None after the batch"
        )
    return found


class _Progress:
    """Says on standard error how far it is, if it takes long."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._start > SILENT_SECONDS:
            print(f"rewrite {self._name}: {text}", file=sys.stderr, flush=True)
