"""A slow layer's fast twin: found, measured, proved, and written out."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.equivalence import (
    RELATIVE,
    Callee,
    Equivalence,
    check_equivalence,
    distance,
    kept,
)
from leankeras.errors import EquivalenceError, RewriteError
from leankeras.rewriting import measurement
from leankeras.rewriting.drafts import Draft, Drafts
from leankeras.rewriting.program import Program
from leankeras.rewriting.report import steps_in_words
from leankeras.rewriting.settling import settled

SILENT_SECONDS = 5
Measure = Callable[[dict[str, keras.Model], Any], Any]
Say = Callable[[str], None]


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
        without_masks: whether they are the same for inputs without a Keras mask only; the new
            layer raises an error where it is given one.
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
    without_masks: bool = False

    def summary(self) -> str:
        """What was found, in a few lines, without the source."""
        lines = [f"{self.layer.name}: {self.nodes[0]} operations to {self.nodes[1]}{self._faster}"]
        if self.for_inference:
            lines.append("  the same at inference only")
        if self.without_masks:
            own = isinstance(self.layer, Program)
            does = "raises an error" if own else "does not do what the old one did"
            lines.append(f"  for inputs without a Keras mask; with one, the new layer {does}")
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


Known = dict[Any, Rewriting | RewriteError]  # by the signatures of layers


class Restricted(keras.Layer):
    """A layer as far as it is rewritten: without masks, and perhaps at inference only.

    Args:
        callee: the layer.
        for_inference: whether it does in training what it does at inference.
        dtypes: of its inputs; None leaves them open.
    """

    def __init__(
        self, callee: Callee, for_inference: bool = True, dtypes: Sequence[str] | None = None
    ) -> None:
        super().__init__(autocast=False)
        # The types that it is to be proved for.
        self.inputs = [keras.KerasTensor((None,), dtype) for dtype in dtypes or ()]
        self.layer = callee.layer
        self._callee = callee
        self._for_inference = for_inference
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """What the layer computes of copies, to which no mask is attached."""
        bare = [tf.identity(each) for each in keras.tree.flatten(inputs)]
        return self._callee.nested(bare, training=training and not self._for_inference)


def rewrite_layer(
    layer: keras.Layer,
    input_shape: Any = None,
    for_inference: bool = False,
    measure: Measure | None = None,
    say: Say | None = None,
    masked: bool = False,
    dtypes: Sequence[str] | None = None,
    known: Known | None = None,
) -> Rewriting:
    """See :func:`leankeras.rewrite`.

    Args:
        layer: a layer, not a model.
        input_shape: the shape of one sample.
        for_inference: whether only inference has to be the same.
        measure: takes models by name and a sample, and gives a comparison of their latencies.
        say: is told how far it is.
        masked: whether its inputs have Keras masks where it is used.
        dtypes: the types of its inputs where it is used; None finds types that it takes.
        known: what was found for the layers before, which is used again for those like them.
    """
    callee, arrays = settled(layer, input_shape, dtypes)
    say = say or _Progress(layer.name)
    with kept(layer):
        traced = Drafts(callee, arrays, for_inference, masked, say)
        signature = None if known is None else traced.signature()
    if known is None:
        return _search(traced, arrays, measure or measurement.measure, say)
    if signature in known:
        found = _reused(known[signature], callee, arrays)
        if found is not None:
            return found
    try:
        known[signature] = _search(traced, arrays, measure or measurement.measure, say)
    except RewriteError as error:
        known[signature] = error
        raise
    return known[signature]


def renewed(layer: keras.Layer, name: str) -> keras.Layer:
    """A new layer like one that :func:`rewrite_layer` has made, under another name."""
    return type(layer).from_config({**layer.get_config(), "name": name})


def _reused(
    found: Rewriting | RewriteError, callee: Callee, arrays: list[np.ndarray]
) -> Rewriting | None:
    """What was found for a layer, for another with the same graph, if it gives the same there."""
    layer = callee.layer
    if isinstance(found, RewriteError):
        raise RewriteError(f"{layer.name}, like {found}")
    new = renewed(found.layer, layer.name)
    _build(new, callee)
    found.port(layer, new)
    candidate = Callee("candidate", new, callee.input_shape)
    with kept(layer):
        pairs = zip(callee.eager(arrays), candidate.eager(arrays), strict=True)
        same = all(distance(*pair, RELATIVE).equal for pair in pairs)
    return replace(found, layer=new) if same else None


def _build(new: keras.Layer, callee: Callee) -> None:
    if not new.built:  # one of Keras's own, which has one input
        new.build((None, *callee.input_shape))


def _search(traced: Drafts, arrays: list[np.ndarray], measure: Measure, say: Say) -> Rewriting:
    callee = traced.callee
    layer = callee.layer
    with kept(layer):
        drafts = traced.make()
    one = [array[:1] for array in arrays]

    def nested(called: keras.Layer, inputs: list[Any]) -> Any:
        return Callee("candidate", called, callee.input_shape).nested(inputs)

    def as_model(called: keras.Layer) -> keras.Model:
        # Wrapped, since a layer that is called on symbolic inputs remembers them.
        how = callee if called is layer else Callee("candidate", called, callee.input_shape)
        return measurement.as_model(Restricted(how), arrays, nested)

    try:
        callee.eager(one)
        models = {measurement.SLOW: as_model(layer)}
    except EquivalenceError as error:
        raise RewriteError(f"{error}; rewrite times it on one sample") from error
    layers: dict[str, keras.Layer] = {}
    for draft in drafts:
        new = draft.made.layer(layer.name)
        _build(new, callee)
        draft.made.port(layer, new)
        models[draft.name] = as_model(new)
        layers[draft.name] = new
    say(f"timing the layer beside {len(layers)} others")
    latency = measure(models, one[0] if len(one) == 1 else one)
    return _fastest_proved(traced, drafts, layers, latency, say)


def _fastest_proved(
    traced: Drafts, drafts: list[Draft], layers: dict[str, keras.Layer], latency: Any, say: Say
) -> Rewriting:
    from leankeras.rewriting.source import print_source

    callee, for_inference = traced.callee, traced.for_inference
    layer = reference = callee.layer
    by_name = {draft.name: draft for draft in drafts}
    table = latency.table.drop(measurement.SLOW).sort_values("ratio")
    reason = ""
    for name in table.index:
        if table.ratio_high[name] >= 1:  # on a busy machine the verdict is "cannot tell"
            reason = reason or f"no faster in LiteRT: {latency.speedup(name)}"
            break
        draft, new = by_name[name], layers[name]
        dtypes = traced.whole_numbers
        if for_inference or draft.without_masks or dtypes:
            reference = Restricted(callee, for_inference, dtypes)
        proof = _proof(reference, callee, draft, new, say)
        if proof.equivalent:
            return Rewriting(
                layer=new,
                source=print_source(draft, callee),
                port=draft.made.port,
                steps=steps_in_words(draft, layer),
                equivalence=proof,
                nodes=draft.nodes,
                latency=latency,
                name=name,
                for_inference=for_inference,
                without_masks=draft.without_masks,
            )
        reason = reason or f"cannot be proved: {proof.verdict}: {proof.reason}"
    raise RewriteError(f"{layer.name}: {reason or 'no draft of it converts to LiteRT'}")


def _proof(
    reference: keras.Layer, callee: Callee, draft: Draft, new: keras.Layer, say: Say
) -> Equivalence:
    layer, count = callee.layer, 0
    # The proof moves one weight after the other and ports them all each time.
    values = tf.function(lambda: [tf.convert_to_tensor(each.value) for each in layer.variables])

    def port(old: keras.Layer, fast: keras.Layer) -> None:
        nonlocal count
        say(f"proving {draft.name}: weight {count} of {len(layer.weights)}")
        count = min(count + 1, len(layer.weights))
        draft.made.assign([each.numpy() for each in values()], fast)

    try:
        return check_equivalence(reference, new, callee.input_shape, port=port)
    except EquivalenceError as error:
        raise RewriteError(f"{layer.name} cannot be proved: {error}") from error


class _Progress:
    """Says on standard error how far it is, every few seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last > SILENT_SECONDS:
            self._last = now
            print(f"rewrite {self._name}: {text}", file=sys.stderr, flush=True)
