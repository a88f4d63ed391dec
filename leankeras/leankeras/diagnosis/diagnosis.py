"""What reading a layer and trying it say together.

Severity follows what was observed: a fault that reading explains is reported where it was read,
as an error; a suspicion that trying did not confirm is dropped.
"""

from collections.abc import Iterator
from typing import Any

import keras

from leankeras.diagnosis.code import (
    ClassSource,
    Reading,
    is_library,
    read_class,
    unread_call,
    where,
)
from leankeras.diagnosis.delivery import custom_layers, try_config, try_delivery
from leankeras.diagnosis.finding import Diagnosis, Finding
from leankeras.diagnosis.habits import read_habits
from leankeras.diagnosis.loops import read_loops
from leankeras.diagnosis.rules import RULES
from leankeras.diagnosis.target import Target, resolve
from leankeras.diagnosis.trial import (
    Fault,
    Trial,
    nodes_made,
    steps_run,
    try_calls,
    try_graph,
    try_python_arguments,
)
from leankeras.equivalence import check_shape, kept, perturb
from leankeras.errors import ModelError
from leankeras.graph import flat_layers

SHORT_LOOP = 4

# Faults that trying shows, and what read in the source explains them.
CAUSES = {
    "batch-dependent": {"hard-coded-batch", "loop-over-batch"},
    "random-at-inference": {"random-without-training", "state-in-call", "created-in-call"},
    "graph-fails": {
        "control-flow-on-tensor",
        "numpy-in-call",
        "created-in-call",
        "state-in-call",
    },
    "graph-differs": {"state-in-call", "numpy-in-call", "python-in-graph"},
    "dynamic-batch": {"hard-coded-batch", "loop-over-batch"},
    "reload-differs": {"tf-variable", "random-attribute", "lost-argument", "created-again"},
    "reload-fails": {"lost-argument", "lambda-layer", "created-again"},
    "lost-argument": {"lost-argument"},
    "savedmodel-fails": {"python-in-graph", "tf-variable", "numpy-in-call", "state-in-call"},
    "tflite-fails": {"python-in-graph", "dynamic-loop", "tf-variable"},
}
COSTS_TIME = {"dynamic-batch", "retrace"}
# Suspicions that vanish when the probe of that name finds nothing.
CLEARED_BY = {
    "control-flow-on-tensor": "graph-fails",
    "numpy-in-call": "graph-differs",
    "random-without-training": "random-at-inference",
    "random-attribute": "reload-differs",
    "hard-coded-batch": "batch-dependent",
}


def diagnose(target: Any, input_shape: Any = None) -> Diagnosis:
    """Find out why a layer or model is slow or cannot be deployed.

    The source of every class of the user's in it is read, and the whole is tried: at batch 1
    and 8, twice, as a graph, saved and reloaded, as a SavedModel and in TFLite. The rules are in
    ``docs/diagnosis.md``. A path ``FILE.py:Class`` runs that file, as ``python FILE.py`` would; a
    ``.keras`` file is opened in safe mode.

    Args:
        target: a layer, a layer class, a model, or a path: ``FILE.py:Class``, ``module:Class``
            or a ``.keras`` file.
        input_shape: shape of one sample, without the batch, such as ``(128, 6)``; a list or dict
            of shapes for several inputs. A model with inputs needs none; without it a layer is
            read and not tried.

    Raises:
        ModelError: the target is none of these, cannot be found, or fails when loaded.
        EquivalenceError: ``input_shape`` is not a shape of one sample.

    Example:
        >>> leankeras.diagnose(CustomConv(64), (256, 16))
        custom_conv: 0 error, 1 warning, 0 info
        warning loop-over-filters  layers.py:21
        ...
    """
    found = resolve(target)
    layers = custom_layers(found.layer) if found.layer else []
    written = dict.fromkeys([type(layer) for layer in layers] or [found.cls])
    classes = {cls: read_class(cls) for cls in written if not is_library(cls)}
    shape = check_shape(input_shape) if input_shape is not None else _known_shape(found.layer)
    if found.layer is None or shape is None:
        reason = found.untried or "no input_shape was given"
        findings = [_finding("not-tried", "info", reason, found.cls.__name__)]
        return Diagnosis(found.name, (*findings, *_judge(found, classes, None)))
    files = frozenset(source.path for sources in classes.values() for source in sources)
    trial = Trial(found.layer, shape, files)
    if not found.layer.built:
        try_calls(Trial(found.layer, shape))
    with kept(found.layer):
        perturb(found.layer)
        if try_calls(trial) and try_graph(trial):
            try_python_arguments(trial)
            try_config(trial)
            try_delivery(trial)
    return Diagnosis(found.name, tuple(_judge(found, classes, trial)), trial.figures)


def _known_shape(layer: keras.Layer | None) -> Any:
    """The shape of one sample that a model's inputs tell, None where there are none."""
    inputs = getattr(layer, "inputs", None)
    if not inputs:
        return None
    structure = inputs[0] if isinstance(layer, keras.Sequential) else layer.input
    shapes = keras.tree.map_structure(lambda tensor: list(tensor.shape[1:]), structure)
    if any(None in tensor.shape[1:] for tensor in inputs):
        raise ModelError(
            f"{layer.name} has inputs of open shape {shapes}; give input_shape, of one sample"
        )
    return check_shape(keras.tree.map_shape_structure(tuple, shapes))


def _judge(
    found: Target, classes: dict[type, list[ClassSource]], trial: Trial | None
) -> Iterator[Finding]:
    readings: dict[tuple[str, int, str], Reading] = {}
    for cls, sources in classes.items():
        yield from _about_class(cls, sources)
        for source in sources:
            for reading in (*read_habits(source), *read_loops(source)):
                readings[source.path, reading.line, reading.rule] = reading
    lambdas = _lambda_layers(found)
    observed: dict[tuple[str, int, str], Fault] = {}
    for fault in trial.faults if trial else ():
        causes = _causes(fault, readings)
        observed = {**dict.fromkeys(causes, fault), **observed}
        if not causes and not (lambdas and fault.rule == "reload-fails"):
            severity = "warning" if fault.rule in COSTS_TIME else "error"
            place = where(*fault.places[-1]) if fault.places else found.name
            yield _finding(fault.rule, severity, fault.message, place)
    for key, reading in readings.items():
        yield from _weigh(key[0], reading, trial, observed.get(key))
    for layer in lambdas:
        severity = "error" if trial and trial.failed("reload-fails") else "warning"
        message = f"a Lambda layer around the Python function {layer.function.__name__}"
        yield _finding("lambda-layer", severity, message, layer.name)


def _about_class(cls: type, sources: list[ClassSource]) -> Iterator[Finding]:
    place = where(sources[0].path, sources[0].node.lineno) if sources else cls.__name__
    author = unread_call(cls, sources)
    if author:
        message = f"the source of {author.__name__}.call cannot be read"
        yield _finding("no-source", "info", message, place)
    if keras.saving.get_registered_name(cls) == cls.__name__:
        yield _finding("unregistered", "info", f"{cls.__name__} is not registered", place)


def _causes(fault: Fault, readings: dict[tuple[str, int, str], Reading]) -> list[tuple]:
    """The readings that explain a fault; where an error says its lines, those on them."""
    return [
        (path, line, rule)
        for path, line, rule in readings
        if rule in CAUSES.get(fault.rule, ()) and (not fault.places or (path, line) in fault.places)
    ]


def _weigh(
    path: str, reading: Reading, trial: Trial | None, observed: Fault | None
) -> Iterator[Finding]:
    """A reading as a finding, as severe as what was observed."""
    rule = RULES[reading.rule]
    severity, message = rule.severity, f"{rule.summary}: {reading.code}"
    traced = trial is not None and "graph-fails" in trial.passed
    if observed:
        severity = severity if observed.rule in COSTS_TIME else "error"
        message += f"; {observed.message}"
    elif trial and CLEARED_BY.get(reading.rule) in trial.passed:
        return
    elif reading.body and traced:
        nodes = nodes_made(trial, path, reading)
        if not nodes:
            return
        steps, runs = steps_run(trial, path, reading) or (None, 1)
        counted = f"{steps} steps in {runs} runs, " if runs > 1 else f"{steps} steps, "
        message += f"; {counted if steps else ''}{nodes} of {len(trial.places)} graph nodes"
        if steps and steps / runs <= SHORT_LOOP:
            severity = "info"
    yield _finding(reading.rule, severity, message, where(path, reading.line))


def _lambda_layers(found: Target) -> list[keras.Layer]:
    layers = flat_layers(found.layer) if found.layer else ()
    return [layer for layer in layers if isinstance(layer, keras.layers.Lambda)]


def _finding(rule: str, severity: str, message: str, where: str) -> Finding:
    text = f"{message[0].upper()}{message[1:].rstrip('.')}. {RULES[rule].why}"
    return Finding(rule, severity, text, where, RULES[rule].fix)
