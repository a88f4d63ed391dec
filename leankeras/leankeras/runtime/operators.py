"""Latency of each operator of a .tflite, from the times of growing prefixes of the file.

The file is cut after operator k, for every k, and each prefix is timed in turns with the whole
file: the difference from the previous prefix is the time of operator k. Nothing is instrumented,
so this resolves operators under a microsecond, which LiteRT's own profiler rounds to zero inside
a delegate.
"""

import time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ai_edge_litert.interpreter import Interpreter

from leankeras.errors import MeasurementError, one_line
from leankeras.runtime.flatbuffer import TFLiteFile, layer_of
from leankeras.runtime.operator_prefix import prefix

ROUNDS = 100
TURN_SECONDS = 0.3e-3
SECONDS = 4.0
MIN_ROUNDS = 8


def profile_operators(path: str | Path) -> pd.DataFrame:
    """Time every operator of a .tflite file.

    Args:
        path: the file.

    Returns:
        One row for each operator in order: ``operator`` (its kind), ``layer`` (the Keras layer, if
        the name of its result shows it), ``type`` of its result, ``kernel`` (``"XNNPACK"`` or
        ``"built-in"``), ``share`` of the whole (the sum is 1), and ``us``, microseconds at batch
        1, which add up to the latency of the whole file. The first operator includes the cost of
        the call itself, about a third of a microsecond.

    Raises:
        ModelError: the file is not a .tflite.
        MeasurementError: LiteRT cannot run it, or it has no operators.

    Example:
        >>> profile_operators("model.tflite").groupby("operator").share.sum()
    """
    file = TFLiteFile(path)
    whole = _opened(path, file.content)
    if not file.operators:
        raise MeasurementError(f"{path}: holds no operators; its outputs are its inputs")
    latency = _latency(whole)
    count = len(file.operators)
    # In a round every prefix, on average half the whole, has a turn, followed by the whole.
    turns = count * (max(latency / 2, TURN_SECONDS) + max(latency, TURN_SECONDS))
    rounds = int(np.clip(SECONDS / turns, MIN_ROUNDS, ROUNDS))
    parts = [_ratio(_opened(path, prefix(file, size)), whole, rounds) for size in range(1, count)]
    share = _shares(np.asarray([*parts, 1.0]))
    delegated = _delegated(whole)
    results = [file.result(operator) for operator in file.operators]
    return pd.DataFrame(
        {
            "operator": [operator.kind for operator in file.operators],
            "layer": [layer_of(tensor.name) for tensor in results],
            "type": [tensor.type for tensor in results],
            "kernel": ["XNNPACK" if k in delegated else "built-in" for k in range(count)],
            "share": share,
            "us": share * latency * 1e6,
        }
    )


def compare_operators(float32: pd.DataFrame, int8: pd.DataFrame) -> pd.DataFrame:
    """Two profiles of one model side by side: where int8 saves time, and what its casts cost.

    Operators are matched by kind in the order they run, like the lines of two texts in a diff;
    those that only one file has, such as QUANTIZE, stand alone. Those of one kind in one layer,
    such as the steps of an unrolled recurrence, are added up.

    Args:
        float32: the result of :func:`profile_operators` for the float file.
        int8: the result for the int8 file; matched operators take the float file's layer.

    Returns:
        Indexed by ``layer`` and ``operator``, in the order they run: ``count``; ``float_us`` and
        ``int8_us``, 0 if a file has no such operator; ``saved_us``, the difference;
        ``float_kernel`` and ``int8_kernel``.

    Example:
        >>> compare_operators(profile_operators("float32.tflite"), profile_operators("int8.tflite"))
    """
    rows = []
    matcher = SequenceMatcher(None, list(float32.operator), list(int8.operator), autojunk=False)
    for tag, start, stop, other_start, other_stop in matcher.get_opcodes():
        ours, theirs = float32[start:stop], int8[other_start:other_stop]
        if tag == "equal":
            rows += [
                _side_by_side(a, b)
                for a, b in zip(ours.itertuples(), theirs.itertuples(), strict=True)
            ]
        else:
            rows += [_side_by_side(a, None) for a in ours.itertuples()]
            rows += [_side_by_side(None, b) for b in theirs.itertuples()]
    table = pd.DataFrame(rows).groupby(["layer", "operator"], sort=False)
    return table.agg(
        count=("operator", "size"),
        float_us=("float_us", "sum"),
        int8_us=("int8_us", "sum"),
        saved_us=("saved_us", "sum"),
        float_kernel=("float_kernel", _joined),
        int8_kernel=("int8_kernel", _joined),
    )


def _side_by_side(a: Any, b: Any) -> dict[str, Any]:
    """One row for an operator of the float file and its counterpart; either may be missing."""
    float_us, int8_us = (0.0 if row is None else row.us for row in (a, b))
    named = b if a is None else a
    return {
        "layer": named.layer,
        "operator": named.operator,
        "float_us": float_us,
        "int8_us": int8_us,
        "saved_us": float_us - int8_us,
        "float_kernel": "" if a is None else a.kernel,
        "int8_kernel": "" if b is None else b.kernel,
    }


def _joined(names: pd.Series) -> str:
    return ", ".join(dict.fromkeys(name for name in names if name))


def _opened(path: str | Path, content: bytes) -> Interpreter:
    try:
        return _ready(content)
    except (ValueError, RuntimeError) as error:
        raise MeasurementError(
            f"{path}: LiteRT cannot run it, or its first operators alone "
            f"({one_line(error)}); convert the model again with leankeras.convert"
        ) from error


def _ready(content: bytes) -> Interpreter:
    """An interpreter whose inputs are filled with plausible values."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for details in interpreter.get_input_details():
        shape, dtype = details["shape"], np.dtype(details["dtype"])
        if dtype.kind == "f":
            values = generator.normal(size=shape)
        elif details["quantization"][0]:
            limits = np.iinfo(dtype)
            values = generator.integers(limits.min, limits.max, shape, endpoint=True)
        else:
            # An index that is valid in every table.
            values = np.zeros(shape)
        interpreter.set_tensor(details["index"], values.astype(dtype))
    interpreter.invoke()
    return interpreter


def _latency(interpreter: Interpreter) -> float:
    """Seconds per call, the median of short turns."""
    repeats = _repeats(interpreter)
    return float(np.median([_turn(interpreter, repeats) for _ in range(ROUNDS)]))


def _ratio(part: Interpreter, whole: Interpreter, rounds: int) -> float:
    """The fraction of the whole's time that a prefix takes: the median over paired turns."""
    repeats = {interpreter: _repeats(interpreter) for interpreter in (part, whole)}
    ratios = []
    for round_ in range(rounds):
        order = (part, whole) if round_ % 2 else (whole, part)
        seconds = {interpreter: _turn(interpreter, repeats[interpreter]) for interpreter in order}
        ratios.append(seconds[part] / seconds[whole])
    return float(np.median(ratios))


def _shares(until: np.ndarray) -> np.ndarray:
    """Each operator's share of the whole, from the times up to and including each.

    Noise makes some prefixes faster than a shorter one. Decreasing neighbours are replaced by their
    mean until all times increase (pool adjacent violators, Ayer et al., 1955), so that no operator
    has a negative time, and the noise of many small ones does not add up.
    """
    pools: list[tuple[float, int]] = []
    for time_until in until:
        mean, count = float(time_until), 1
        while pools and pools[-1][0] > mean:
            before, size = pools.pop()
            mean = (mean * count + before * size) / (count + size)
            count += size
        pools.append((mean, count))
    rising = np.repeat([mean for mean, _ in pools], [count for _, count in pools])
    return np.diff(rising, prepend=0) / rising[-1]


def _repeats(interpreter: Interpreter) -> int:
    single = min(_turn(interpreter, 1) for _ in range(5))
    return max(1, int(TURN_SECONDS / max(single, 1e-7)))


def _turn(interpreter: Interpreter, repeats: int) -> float:
    invoke = interpreter.invoke
    start = time.perf_counter()
    for _ in range(repeats):
        invoke()
    return (time.perf_counter() - start) / repeats


def _delegated(interpreter: Interpreter) -> set[int]:
    """Indices of the operators that a delegate runs.

    LiteRT lists the delegate's own nodes after the file's operators, by the tensors that they
    read and write; they stand for the operators between those tensors.
    """
    nodes = interpreter._get_ops_details()
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    producer = {int(out): node["index"] for node in operators for out in node["outputs"]}
    inputs = {node["index"]: [int(index) for index in node["inputs"]] for node in operators}
    found: set[int] = set()
    for node in nodes:
        if node["op_name"] != "DELEGATE":
            continue
        known = {int(index) for index in node["inputs"]}
        open_tensors = [int(index) for index in node["outputs"]]
        while open_tensors:
            tensor = open_tensors.pop()
            if tensor in known or tensor not in producer:
                continue
            known.add(tensor)
            found.add(producer[tensor])
            open_tensors += inputs[producer[tensor]]
    return found
