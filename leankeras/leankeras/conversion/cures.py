"""Remedies for a conversion that went wrong, tried before they are suggested.

For int8, layers are left in float: the one that the output comes from, those with the largest
error of their own, and the attention layers. If that does not help, and for the other modes,
another mode is tried. Only a remedy whose file has no findings counts.
"""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from leankeras.conversion.attempt import Attempt, Attempts, LayerError
from leankeras.conversion.verification import listed, percent
from leankeras.errors import ConversionError
from leankeras.modes import INT8_MODES, INTEGER_MODES
from leankeras.runtime import CASTS

OTHERS = {
    "float32": (),
    "float16": ("float32",),
    "dynamic": ("float32",),
    "int16x8": ("int8", "float16", "float32"),
    **dict.fromkeys(INT8_MODES, ("float16", "float32")),
}
SECONDS = 20.0
PATIENCE = 2.0  # times the duration of the conversion itself
LARGEST = 3
HALF = 0.5


@dataclass
class Trouble:
    """A conversion that went wrong.

    Args:
        attempts: makes other files of the model.
        mode: the requested mode.
        keep_float: the requested layers.
        attempt: the file, if there is one.
        stuck: the layers that the mode does not support, if there is no file.
    """

    attempts: Attempts
    mode: str
    keep_float: Sequence[str]
    attempt: Attempt | None = None
    stuck: Sequence[str] = ()
    exact: Attempt | None = field(init=False, default=None)
    errors: list[LayerError] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.attempt is None:
            return
        try:
            self.exact = self.attempts.make("float32")
        except ConversionError:
            return
        if not self._is_the_converter():
            self.errors = self.attempts.layer_errors(self.attempt, self.exact)
            if self.mode in INTEGER_MODES:
                self.errors.sort(key=lambda each: -each.own)

    def advice(self) -> str:
        """The origin of the error, what was tried and with what result, each after a semicolon."""
        began, failed, best = time.perf_counter(), [], None
        patience = max(SECONDS, PATIENCE * self.attempt.seconds if self.attempt else 0.0)
        said = self._origin()
        for mode, layers in self._candidates():
            try:
                verdict = self.attempts.make(mode, layers).verdict
            except ConversionError:
                failed.append(self._name(mode, layers))
            else:
                name = self._name(mode, layers)
                if verdict.finding is None:
                    within = percent(verdict.difference)
                    return f"{said}; {name} was tried and comes within {within} of the model"
                failed.append(name)
                if best is None or verdict.difference < best[0]:
                    best = verdict.difference, f"; best is {name}, after which {verdict.finding}"
            if time.perf_counter() - began > patience:
                break
        if not failed:
            return said
        helps = best and (not self.attempt or best[0] < HALF * self.attempt.verdict.difference)
        verb = "was" if len(failed) == 1 else "were"
        tried = f"; {listed(failed)} {verb} tried and did not help"
        return said + tried + (best[1] if helps else "")

    def _origin(self) -> str:
        if self.attempt is None:
            return ""
        limit = HALF * min(self.attempt.verdict.difference, 1.0)
        if self._is_the_converter():
            layer = self.attempts.parting(self.exact, limit) or self._last()
            return f"; the converter changes what layer {layer!r} computes" if layer else ""
        if self._is_joined():
            layer = self._last()
        elif self.errors and self.errors[0].own >= limit:
            layer = self.errors[0].layer
        elif self.errors and self.mode in INT8_MODES:
            most = self.errors[0].layer
            return f"; it accumulates over many layers, most of it in layer {most!r}"
        else:
            layer = next((each.layer for each in self.errors if each.error > limit), "")
        return f"; it comes from layer {layer!r}" if layer else ""

    def _candidates(self) -> Iterator[tuple[str, list[str]]]:
        """Yield modes and layers to be kept in float, each pair once."""
        if self._is_the_converter():
            return
        tries: list[tuple[str, Sequence[str]]] = []
        if self.mode in INT8_MODES and self.attempts.calibration is not None:
            sets = list(self._suspects())
            tries += [(self.mode, layers) for layers in sets]
            if self.mode != "int8":  # an integer input cannot be kept in float
                tries += [("int8", layers) for layers in sets[:1]]
        if not self.attempts.export.quantized:
            tries += [(mode, ()) for mode in OTHERS[self.mode]]
        seen = {(self.mode, frozenset(self.keep_float))}
        for mode, layers in tries:
            kept = list(dict.fromkeys([*self.keep_float, *layers])) if mode in INT8_MODES else []
            if (mode, frozenset(kept)) not in seen:
                seen.add((mode, frozenset(kept)))
                yield mode, kept

    def _suspects(self) -> Iterator[Sequence[str]]:
        """Yield sets of layers that may explain the difference."""
        if self.stuck:
            yield self.stuck
        if self.attempt is None:
            return
        if self._is_joined() and self._last():
            yield [self._last()]
        for count in (1, LARGEST):
            largest = self.errors[:count]
            together = math.hypot(*(each.own for each in largest))
            if together >= HALF * self.attempt.verdict.difference:
                yield [each.layer for each in largest]
        if attention := _attention(self.attempt):
            yield attention

    @property
    def wrong_in_float(self) -> bool:
        """Whether the file would be wrong even if nothing were rounded."""
        return self.exact is not None and self.exact.verdict.refused

    def _is_the_converter(self) -> bool:
        return self.wrong_in_float or (self.exact is not None and self.mode == "float32")

    def _is_joined(self) -> bool:
        part = self.attempt.verdict.part
        return part is not None and not part.alone

    def _last(self) -> str:
        """The layer that computes the output in which the error shows."""
        part = self.attempt.verdict.part
        if part is None or part.operator is None:
            return ""
        return self.attempt.operator_layers[part.operator]

    def _name(self, mode: str, layers: Collection[str]) -> str:
        kept = f"keep_float={list(layers)}"
        if mode == self.mode:
            return kept
        return f"mode {mode!r} with {kept}" if layers else f"mode {mode!r}"


def _attention(attempt: Attempt) -> list[str]:
    """The layers with a softmax that is not an output, or the blocks that contain them."""
    file, layers = attempt.file, attempt.operator_layers
    last = {index for op in file.operators if op.kind in CASTS for index in op.inputs}
    last |= set(file.outputs.values())
    found = []
    for operator, layer in zip(file.operators, layers, strict=True):
        if operator.kind == "SOFTMAX" and layer and operator.outputs[0] not in last:
            is_block = any(other.startswith(f"{layer}/") for other in layers)
            found.append(layer if is_block else layer.rpartition("/")[0] or layer)
    return list(dict.fromkeys(found))
