"""What trying a layer shows: batches, repeated calls, its graph and its traces."""

import inspect
import re
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.diagnosis.code import Reading, is_library
from leankeras.equivalence import RELATIVE, RELATIVE_REPEAT, Shape, distance, flat_shapes, pack
from leankeras.errors import one_line
from leankeras.graph import flat_layers

Place = tuple[str, int]

SEVERAL = 8
SAMPLES = 16


@dataclass(frozen=True)
class Fault:
    """Something that went wrong when it was tried.

    Args:
        rule: the rule it falls under.
        message: what was seen.
        places: lines of the user's files that an error came through, the innermost last.
    """

    rule: str
    message: str
    places: tuple[Place, ...] = ()


@dataclass
class Trial:
    """What trying a layer has shown so far, filled by the ``try_`` functions.

    Args:
        layer: what is tried.
        input_shape: of one sample; a list or dict of shapes for several inputs.
        files: the user's files, whose lines are told apart.
        faults: what went wrong.
        passed: rules of probes that were made and found nothing.
        places: for each node of the graph at batch 1, the ``(file, line)`` of the calls it is from.
        visits: how often each ``(file, line)`` of the user's was run to make that graph.
        figures: what is shown beside the findings.
    """

    layer: keras.Layer
    input_shape: Any
    files: frozenset[str] = frozenset()
    faults: list[Fault] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    places: list[set[Place]] = field(default_factory=list)
    visits: Counter[Place] = field(default_factory=Counter)
    figures: dict[str, Any] = field(default_factory=dict)

    def record(self, rule: str, message: str | None, error: Exception | None = None) -> bool:
        """Note the outcome of a probe, None for no fault; returns whether it passed."""
        if message is None:
            self.passed.add(rule)
            return True
        frames = traceback.extract_tb(error.__traceback__) if error else ()
        places = [(f.filename, f.lineno) for f in frames if f.filename in self.files]
        self.faults.append(Fault(rule, message, tuple(places)))
        return False

    def inputs(self, batch: int = 1) -> Any:
        """The same random samples every time, the first ``batch`` of them, as tensors."""
        rows = self.fixed_batch or batch
        arrays = [array[:rows] for array in self._arrays()]
        return pack(self.input_shape, arrays)

    def samples(self) -> Any:
        """Sixteen samples as NumPy arrays."""
        return keras.tree.map_structure(np.asarray, pack(self.input_shape, self._arrays()))

    def _arrays(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        shapes_and_dtypes = zip(flat_shapes(self.input_shape), self.dtypes(), strict=True)
        return [_random(shape, dtype, rng) for shape, dtype in shapes_and_dtypes]

    def failed(self, *rules: str) -> bool:
        """Whether one of these probes found a fault."""
        return any(fault.rule in rules for fault in self.faults)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that a functional model was made for, None where it is open."""
        tensors = keras.tree.flatten(getattr(self.layer, "inputs", None) or [])
        return tensors[0].shape[0] if tensors else None

    def dtypes(self) -> list[str]:
        """Data type of each input."""
        tensors = keras.tree.flatten(getattr(self.layer, "inputs", None) or [])
        count = len(flat_shapes(self.input_shape))
        if isinstance(self.layer, keras.layers.Embedding):
            return ["int32"] * count
        return [tensor.dtype for tensor in tensors] or ["float32"] * count

    def specs(self, batch: int | None) -> Any:
        """Signatures of the inputs at a batch size, None for an unknown one."""
        return keras.tree.map_structure(
            lambda tensor: tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype), self.inputs()
        )

    def call(self, inputs: Any) -> list[np.ndarray]:
        """The outputs in inference mode, flat."""
        outputs = self.layer(inputs, training=False)
        return [np.asarray(output) for output in keras.tree.flatten(outputs)]


def try_calls(trial: Trial) -> bool:
    """Call it on one sample and on several, twice; returns whether it takes one sample."""
    outputs: dict[int, list[np.ndarray]] = {}
    failures: dict[int, Exception] = {}
    batches = (SEVERAL, 1) if trial.fixed_batch is None else (trial.fixed_batch,)
    for batch in batches:
        # A user's layer may raise anything, and what it says is the finding.
        try:
            outputs[batch] = trial.call(trial.inputs(batch))
        except (Exception, SystemExit) as error:
            failures[batch] = error
    if not outputs:
        error = failures[batches[-1]]
        message = f"called on samples of shape {trial.input_shape}: {one_line(error)}"
        return trial.record("call-fails", message, error)
    batch, first = next(iter(outputs.items()))
    again = trial.call(trial.inputs(batch))
    apart = largest_gap(first, again, RELATIVE_REPEAT)
    message = f"two calls with training=False differ by {apart:.3g}"
    steady = trial.record("random-at-inference", message if apart else None)
    if failures:
        failed, error = next(iter(failures.items()))
        trial.record("batch-dependent", f"batch {failed} fails: {one_line(error)}", error)
    elif steady and len(batches) > 1:
        alone = outputs[1]
        together = [output[:1] for output in outputs[SEVERAL]]
        apart = largest_gap(alone, together, RELATIVE)
        message = f"a sample alone and among {SEVERAL} gives outputs that differ by {apart:.3g}"
        trial.record("batch-dependent", message if apart else None)
    trial.figures["weights"] = int(sum(np.prod(w.shape) for w in trial.layer.weights))
    return batches[-1] in outputs


def try_graph(trial: Trial) -> bool:
    """Trace it at batch 1; returns whether that works."""

    @tf.function(autograph=False)  # as Keras does in fit, predict and export
    def infer(inputs: Any) -> Any:
        return trial.layer(inputs, training=False)

    try:
        with _counting_visits(trial.visits, trial.files):
            graph = infer.get_concrete_function(trial.specs(trial.fixed_batch or 1)).graph
    except (Exception, SystemExit) as error:
        return trial.record("graph-fails", one_line(error), error)
    trial.record("graph-fails", None)
    trial.places = [_places(operation) for operation in graph.get_operations()]
    trial.figures["graph nodes"] = len(trial.places)
    if "random-at-inference" in trial.passed and not trial.failed("batch-dependent"):
        inputs = trial.inputs()
        eager = trial.call(inputs)
        seen = [np.asarray(output) for output in keras.tree.flatten(infer(inputs))]
        apart = largest_gap(eager, seen, RELATIVE)
        message = f"graph and eager outputs differ by {apart:.3g}"
        trial.record("graph-differs", message if apart else None)
    if trial.fixed_batch is not None:
        return True
    try:
        infer.get_concrete_function(trial.specs(None))
        trial.record("dynamic-batch", None)
    except (Exception, SystemExit) as error:
        trial.record("dynamic-batch", one_line(error), error)
    return True


def try_python_arguments(trial: Trial) -> None:
    """Count the traces over new values of a Python number that call takes."""
    parameters = inspect.signature(trial.layer.call).parameters.values()
    numbers = [
        parameter.name
        for parameter in parameters
        if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool)
    ]
    for name in numbers if not is_library(type(trial.layer)) else ():

        @tf.function(autograph=False)
        def infer(inputs: Any, number: float, name: str = name) -> Any:
            return trial.layer(inputs, **{name: number}, training=False)

        inputs = trial.inputs()
        for number in (1, 2, 3):
            infer(inputs, number)
        traces = infer.experimental_get_tracing_count()
        trial.record("retrace", f"3 values of {name} made {traces} traces" if traces > 1 else None)


def largest_gap(expected: list[np.ndarray], seen: list[np.ndarray], relative: float) -> float:
    """The largest difference that is more than rounding, 0.0 where there is none."""
    if [part.shape for part in expected] != [part.shape for part in seen]:
        return float("inf")
    distances = [distance(*pair, relative) for pair in zip(expected, seen, strict=True)]
    return max((apart.max_abs_diff for apart in distances if not apart.equal), default=0.0)


def steps_run(trial: Trial, path: str, loop: Reading) -> tuple[int, int] | None:
    """How many steps a loop took when traced, and in how many runs; None if that cannot be told."""
    if loop.steps:
        # The line of a loop is visited once for each step, and once more to leave it.
        steps = max(trial.visits[path, line] for line in loop.steps)
        first = trial.visits[path, loop.body[0]]
        return steps, max(1, trial.visits[path, loop.line] - first)
    for layer in flat_layers(trial.layer):
        lengths = [_length(layer, over) for over in loop.over]
        if any(lengths):
            return min(length for length in lengths if length), 1
    return None


def nodes_made(trial: Trial, path: str, loop: Reading) -> int:
    """How many nodes of the graph the lines of a loop made, and what they call."""
    lines = range(loop.body[0], loop.body[1] + 1)
    return sum(
        any(file == path and line in lines for file, line in places) for places in trial.places
    )


@contextmanager
def _counting_visits(visits: Counter, files: frozenset[str]) -> Iterator[None]:
    """Count how often each line of the user's files is run."""

    def follow(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            visits[frame.f_code.co_filename, frame.f_lineno] += 1
        return follow

    before = sys.gettrace()  # a debugger's or a coverage tool's
    sys.settrace(follow)
    try:
        yield
    finally:
        sys.settrace(before)


def _length(layer: keras.Layer, over: str) -> int | None:
    """The length of ``range(8)``, or in a layer of ``self.heads`` and ``range(self.filters)``."""
    number = re.fullmatch(r"range\((\d+)\)", over)
    if number:
        return int(number[1])
    found = re.fullmatch(r"(range\()?self\.(\w+)\)?", over)
    value = getattr(layer, found[2], None) if found else None
    if isinstance(value, (list, tuple)):
        return len(value)
    return value if found and found[1] and isinstance(value, int) else None


def _places(operation: tf.Operation) -> set[Place]:
    return {(frame.filename, frame.lineno) for frame in operation.traceback}


def _random(shape: Shape, dtype: str, rng: np.random.Generator) -> np.ndarray:
    if dtype.startswith(("int", "uint", "bool")):
        return rng.integers(0, 2, (SAMPLES, *shape)).astype(dtype)
    return rng.normal(size=(SAMPLES, *shape)).astype(dtype)
