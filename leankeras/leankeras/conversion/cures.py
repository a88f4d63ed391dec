"""What helps where a conversion went wrong: tried before it is told.

For int8, layers are left in float: the one that the output comes from, those with the largest
error of their own, and the attention layers. For the other modes, and where that does not help,
another mode is tried. What is tried counts as a cure only if nothing is left to be said about its
file.
"""

import time
from collections.abc import Collection, Iterator

from leankeras.conversion.attempt import Attempt, Attempts, LayerError
from leankeras.conversion.verification import listed, percent
from leankeras.errors import ConversionError
from leankeras.modes import INT8_MODES
from leankeras.runtime import CASTS

OTHERS = {
    "float32": (),
    "float16": ("float32",),
    "dynamic": ("float32",),
    "int16x8": ("int8", "float16", "float32"),
    **dict.fromkeys(INT8_MODES, ("float16", "float32")),
}
SECONDS = 20.0
PATIENCE = 2.0  # times what the conversion itself took
LARGEST = 3
HALVED = 0.5


def advise(
    attempts: Attempts,
    mode: str,
    keep_float: Collection[str],
    attempt: Attempt | None = None,
    stuck: Collection[str] = (),
) -> str:
    """Where the trouble of a conversion comes from, what was tried, and what that brings.

    Args:
        attempts: makes the files to try.
        mode: of the conversion.
        keep_float: its layers in float.
        attempt: the file it gave, if it gave one.
        stuck: layers that this mode does not have.

    Returns:
        Words to follow those of what is wrong, each clause after a semicolon.
    """
    errors = attempts.layer_errors(attempt) if attempt else []
    layer = _likeliest(attempt, errors) if attempt else ""
    said = f"; it comes from layer {layer!r}" if layer else ""
    began, failed, best = time.perf_counter(), [], None
    patience = max(SECONDS, PATIENCE * attempt.seconds if attempt else 0.0)
    for other, layers in _candidates(attempts, mode, keep_float, attempt, errors, stuck):
        name = _name(mode, other, layers)
        try:
            verdict = attempts.make(other, layers).verdict
        except ConversionError:
            failed.append(name)
        else:
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
    helps = best and (not attempt or best[0] < HALVED * attempt.verdict.difference)
    verb = "was" if len(failed) == 1 else "were"
    return (
        f"{said}; {listed(failed)} {verb} tried and did not put it right{best[1] if helps else ''}"
    )


def _name(mode: str, other: str, layers: Collection[str]) -> str:
    kept = f"keep_float={list(layers)}"
    if other == mode:
        return kept
    return f"mode {other!r} with {kept}" if layers else f"mode {other!r}"


def _candidates(
    attempts: Attempts,
    mode: str,
    keep_float: Collection[str],
    attempt: Attempt | None,
    errors: list[LayerError],
    stuck: Collection[str],
) -> Iterator[tuple[str, list[str]]]:
    """Yield modes and layers to be kept in float, each pair once."""
    tries: list[tuple[str, list[str]]] = []
    if mode in INT8_MODES and attempts.calibration is not None:
        by_own = [each.layer for each in sorted(errors, key=lambda each: -each.own)]
        last = [_output_layer(attempt)] if attempt else []
        attention = _attention(attempt) if attempt else []
        tries += [(mode, kept) for kept in (stuck, last, by_own[:1], by_own[:LARGEST], attention)]
        if mode != "int8":  # the steps of an integer input cannot be kept in float
            tries.append(("int8", by_own[:1]))
    if not attempts.export.quantized:
        tries += [(other, []) for other in OTHERS[mode]]
    seen = {(mode, frozenset(keep_float))}
    for other, layers in tries:
        kept = list(dict.fromkeys([*keep_float, *layers])) if other in INT8_MODES else []
        if (other, frozenset(kept)) not in seen and (other != mode or any(layers)):
            seen.add((other, frozenset(kept)))
            yield other, [layer for layer in kept if layer]


def _likeliest(attempt: Attempt, errors: list[LayerError]) -> str:
    """The layer that the difference comes from, as far as the errors by layer tell; or ""."""
    part = attempt.verdict.part
    if part is not None and not part.alone:
        return _output_layer(attempt)
    if any(each.own for each in errors):
        return max(errors, key=lambda each: each.own).layer
    limit = HALVED * attempt.verdict.difference
    return next((each.layer for each in errors if each.error > limit), "")


def _output_layer(attempt: Attempt) -> str:
    part = attempt.verdict.part
    return attempt.operator_layers[part.operator] if part and part.operator is not None else ""


def _attention(attempt: Attempt) -> list[str]:
    """The layers with a softmax of their own that is no output, or what they are a part of."""
    file = attempt.file
    last = {index for op in file.operators if op.kind in CASTS for index in op.inputs}
    found = [
        layer.rpartition("/")[0] or layer
        for operator, layer in zip(file.operators, attempt.operator_layers, strict=True)
        if operator.kind == "SOFTMAX" and layer and operator.outputs[0] not in last
    ]
    return list(dict.fromkeys(found))
