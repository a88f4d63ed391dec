"""Trials of a layer: batches, repeated calls, its graph and its traces."""

import inspect
import traceback
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.diagnosis.flow import Flow
from leankeras.diagnosis.samples import Inputs
from leankeras.diagnosis.source import is_library
from leankeras.diagnosis.steps import Log, Place
from leankeras.equivalence import RELATIVE, RELATIVE_REPEAT, distance
from leankeras.errors import one_line
from leankeras.graph import flat_layers

SEVERAL = 8
PLAIN = (int, float, str, bool, type(None), tf.TensorShape)


@dataclass(frozen=True)
class Fault:
    """Something that went wrong in a trial.

    Args:
        rule: the rule it falls under.
        message: what was seen.
        places: the lines of the user's files that caused it, the innermost last.
    """

    rule: str
    message: str
    places: tuple[Place, ...] = ()


@dataclass
class Trial:
    """The results of running a layer so far, filled by the ``try_`` functions.

    Args:
        layer: the layer.
        inputs: the inputs it is run on.
        files: the user's files, whose lines are recorded.
        faults: what went wrong.
        passed: rules whose probes were made and found nothing.
        eager: the lines that ran when it was called on one sample.
        traced: the lines and the steps of loops that ran when it was traced at batch 1.
        several: the same at a larger batch.
        graph: the graph at batch 1.
        places: for each of its nodes, the ``(file, line)`` of the calls that created it.
        settled: attributes, as ``self.name``, that no further call changed.
        lost_variables: attributes with a variable that is lost on reload or never trained.
        made_anew: attributes that have the same values in a reloaded layer.
        kept_arguments: constructor arguments, as ``Class.name``, that ``get_config`` returns.
        figures: figures shown with the findings.
    """

    layer: keras.Layer
    inputs: Inputs
    files: frozenset[str] = frozenset()
    faults: list[Fault] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    graph: tf.Graph | None = None
    places: list[set[Place]] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    lost_variables: set[str] = field(default_factory=set)
    made_anew: set[str] = field(default_factory=set)
    kept_arguments: set[str] = field(default_factory=set)
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.eager, self.traced, self.several = (Log(self.files) for _ in range(3))
        self.flow = cache(Flow)

    def record(
        self,
        rule: str,
        message: str | None,
        error: BaseException | None = None,
        places: tuple[Place, ...] = (),
    ) -> bool:
        """Record the outcome of a probe, None for no fault; returns whether it passed."""
        if message is None:
            self.passed.add(rule)
            return True
        frames = traceback.extract_tb(error.__traceback__) if error else ()
        raised = tuple((f.filename, f.lineno) for f in frames if f.filename in self.files)
        self.faults.append(Fault(rule, message, places or raised))
        return False

    def failed(self, *rules: str) -> bool:
        """Whether one of these probes found a fault."""
        return any(fault.rule in rules for fault in self.faults)

    def ran(self, path: str, span: tuple[int, int]) -> bool:
        """Whether a statement was seen to run at inference."""
        if "graph-fails" in self.passed:
            return self.traced.ran(path, *span)
        if self.failed("call-fails"):
            return True  # code after the failure was not reached
        return self.eager.ran(path, *span) or self.traced.ran(path, *span)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that a functional model was made for, None if it is open."""
        tensors = keras.tree.flatten(getattr(self.layer, "inputs", None) or [])
        return tensors[0].shape[0] if tensors else None

    def batch(self, size: int = 1) -> Any:
        """The first samples, as many as the layer's own batch size if it has one."""
        return self.inputs.batch(self.fixed_batch or size)

    def several_samples(self) -> Any:
        """A batch of eight, or of one if the layer accepts no other."""
        return self.batch(1 if self.failed("batch-dependent") else SEVERAL)

    def apply(self, inputs: Any, **options: Any) -> Any:
        """The layer's outputs in inference mode, in its own structure."""
        return self.inputs.call(self.layer, inputs, training=False, **options)

    def call(self, inputs: Any) -> list[np.ndarray]:
        """The outputs in inference mode, flat."""
        return flat_arrays(self.apply(inputs))


def try_calls(trial: Trial) -> bool:
    """Call it on one sample and on several, twice; returns whether it accepts one sample."""
    outputs: dict[int, list[np.ndarray]] = {}
    failures: dict[int, BaseException] = {}
    batches = (SEVERAL, 1) if trial.fixed_batch is None else (trial.fixed_batch,)
    for batch in batches:
        # A user's layer may raise anything; its message becomes the finding.
        try:
            with trial.eager.recording():
                outputs[batch] = trial.call(trial.batch(batch))
        except (Exception, SystemExit) as error:
            failures[batch] = error
    if not outputs:
        error = failures[batches[-1]]
        message = f"called on samples of shape {trial.inputs.structure}: {one_line(error)}"
        return trial.record("call-fails", message, error)
    batch, first = next(iter(outputs.items()))
    again = trial.call(trial.batch(batch))
    apart = largest_gap(first, again, RELATIVE_REPEAT)
    message = f"two calls with training=False differ by {apart:.3g}"
    steady = trial.record("random-at-inference", message if apart else None)
    if failures:
        failed, error = next(iter(failures.items()))
        trial.record("batch-dependent", f"batch {failed} fails: {one_line(error)}", error)
    elif steady and len(batches) > 1:
        apart = max(_gap_alone(trial, outputs[SEVERAL], place) for place in (0, SEVERAL - 1))
        message = f"the outputs of a sample alone and among {SEVERAL} differ by {apart:.3g}"
        trial.record("batch-dependent", message if apart else None)
    trial.figures["weights"] = int(sum(np.prod(w.shape) for w in trial.layer.weights))
    return batches[-1] in outputs


def _gap_alone(trial: Trial, together: list[np.ndarray], place: int) -> float:
    """How far a sample's outputs in a batch are from its outputs alone."""
    one = keras.tree.map_structure(lambda t: t[place : place + 1], trial.batch(SEVERAL))
    return largest_gap(trial.call(one), [out[place : place + 1] for out in together], RELATIVE)


def try_graph(trial: Trial) -> bool:
    """Trace it at batch 1 and at others; returns whether batch 1 works."""

    @tf.function(autograph=False)  # as Keras does in fit, predict and export
    def infer(inputs: Any) -> Any:
        return trial.apply(inputs)

    before = _plain_attributes(trial.layer)
    try:
        with trial.traced.recording():
            concrete = infer.get_concrete_function(trial.inputs.specs(trial.fixed_batch or 1))
    except (Exception, SystemExit) as error:
        return trial.record("graph-fails", one_line(error), error)
    trial.record("graph-fails", None)
    after = _plain_attributes(trial.layer)
    trial.settled = {f"self.{name}" for name, value in after.items() if before.get(name) == value}
    trial.graph = concrete.graph
    trial.places = [_places(operation) for operation in trial.graph.get_operations()]
    trial.figures["graph nodes"] = len(trial.places)
    if "random-at-inference" in trial.passed and not trial.failed("batch-dependent"):
        inputs = trial.batch()
        apart = largest_gap(trial.call(inputs), flat_arrays(infer(inputs)), RELATIVE)
        message = f"graph and eager outputs differ by {apart:.3g}"
        trial.record("graph-differs", message if apart else None)
    if trial.fixed_batch is not None:
        return True
    try:
        if not trial.failed("batch-dependent"):
            with trial.several.recording():
                infer.get_concrete_function(trial.inputs.specs(SEVERAL))
        infer.get_concrete_function(trial.inputs.specs(None))
        trial.record("dynamic-batch", None)
    except (Exception, SystemExit) as error:
        trial.record("dynamic-batch", one_line(error), error)
    return True


def try_python_arguments(trial: Trial) -> None:
    """Count the traces for new values of each Python number that call takes."""
    parameters = inspect.signature(trial.layer.call).parameters.values()
    numbers = [
        parameter.name
        for parameter in parameters
        if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool)
    ]
    for name in numbers if not is_library(type(trial.layer)) else ():

        @tf.function(autograph=False)
        def infer(inputs: Any, number: float, name: str = name) -> Any:
            return trial.apply(inputs, **{name: number})

        inputs = trial.batch()
        for number in (1, 2, 3):
            infer(inputs, number)
        traces = infer.experimental_get_tracing_count()
        trial.record("retrace", f"3 values of {name} gave {traces} traces" if traces > 1 else None)


def flat_arrays(outputs: Any) -> list[np.ndarray]:
    """Outputs of any structure as a list of arrays."""
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


def largest_gap(expected: list[np.ndarray], seen: list[np.ndarray], relative: float) -> float:
    """The largest difference that is more than rounding, 0.0 if there is none."""
    if [part.shape for part in expected] != [part.shape for part in seen]:
        return float("inf")
    distances = [distance(*pair, relative) for pair in zip(expected, seen, strict=True)]
    return max((apart.max_abs_diff for apart in distances if not apart.equal), default=0.0)


def _plain_attributes(layer: keras.Layer) -> dict[str, str]:
    """Attributes of the user's layers with only plain values, by name, as printed."""
    found: dict[str, list[Any]] = {}
    for part in flat_layers(layer):
        if not is_library(type(part)):
            for name, value in vars(part).items():
                found.setdefault(name, []).append(value)
    return {name: repr(values) for name, values in found.items() if all(map(_is_plain, values))}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)


def _places(operation: tf.Operation) -> set[Place]:
    return {(frame.filename, frame.lineno) for frame in operation.traceback}
