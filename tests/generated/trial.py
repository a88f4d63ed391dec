"""The outcome of a generated model: right, warned, refused by name, or one of the faults.

Outcomes are judged here with NumPy, by the outputs of the interpreter and of Keras, not by what
the library itself reports.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

import leankeras
from leankeras import Data, KoptError
from leankeras.channels import plan_removal
from leankeras.kernels import measure_kernels
from leankeras.modes import MODES
from tests.generated.grammar import VOCABULARY

SAMPLES, EPOCHS = 24, 1
# How far an output may be off, relative to its size, before a file reported as right is wrong.
LIMITS = {
    **dict.fromkeys(("float32", "equal"), 1e-3),
    "float16": 0.02,
    **dict.fromkeys(("dynamic", "int8", "int8-io", "uint8-io"), 0.35),
    "int16x8": 0.05,
}
FAULTS = ("wrong", "traceback", "changed")


@dataclass(frozen=True)
class Outcome:
    """What an action did to a model.

    Attributes:
        result: "right", "warned", "refused", or a fault: "wrong", "traceback", or "changed" for
            the caller's model.
        detail: the message, or how far what is off.
    """

    result: str
    detail: str = ""


def attempt(action: str, model: keras.Model, folder: Path) -> Outcome:
    """Do something to a model, as a user would, and judge what comes back."""
    before = [weight.copy() for weight in model.get_weights()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own warning about masks that a layer drops
        try:
            outcome = ACTIONS[action](model, folder)
        except KoptError as error:
            several = "\n" in str(error)
            outcome = Outcome("traceback" if several else "refused", str(error))
        except Exception as error:
            outcome = Outcome("traceback", f"{type(error).__name__}: {error}")
    after = model.get_weights()
    if any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
        return Outcome("changed", f"{action} changed the caller's weights; {outcome}")
    return outcome


def samples_of(model: keras.Model, count: int, seed: int) -> Any:
    """Samples as a user would have them, an array or a dict of arrays by input name."""
    random = np.random.default_rng(seed)
    arrays = {}
    for tensor in model.inputs:
        shape = (count, *tensor.shape[1:])
        if tensor.dtype == "float32":
            arrays[tensor.name] = random.normal(size=shape).astype("float32")
        else:
            most = VOCABULARY if tensor.dtype == "int32" else 256
            arrays[tensor.name] = random.integers(0, most, shape).astype(tensor.dtype)
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def _convert(mode: str, model: keras.Model, folder: Path) -> Outcome:
    x = calibration, evaluation = [samples_of(model, SAMPLES, seed) for seed in (0, 1)]
    made = leankeras.convert(
        model, folder / "model.tflite", mode, calibration, evaluation=evaluation
    )
    expected = _joined([_by_name(_called(model, one)) for one in x])
    apart = _apart(expected, _joined([_run(made.path, one) for one in x]))
    warned = getattr(made, "warning", None)
    if apart > LIMITS[mode] and not warned:
        return Outcome("wrong", f"{mode} is off by {apart:.2g}, called right: {made}")
    return Outcome("warned" if warned else "right", str(warned or f"{apart:.2g}"))


def _twin(model: keras.Model, folder: Path) -> Outcome:
    twin, x = leankeras.to_tf_keras(model), samples_of(model, SAMPLES, 0)
    expected = _by_name(_called(model, x))
    seen = _by_name(twin(_structured(model, x), training=False))
    return _equal("the twin", expected, seen)


def _prune(model: keras.Model, folder: Path) -> Outcome:
    pruned = leankeras.prune(model, _data(model), sparsity=0.5, epochs=EPOCHS, verbose=0, leave=[])
    kernels = measure_kernels(pruned)
    reached = ((kernels.sparsity * kernels.weights).round() >= kernels.weights // 2).any()
    finite = all(np.isfinite(weight).all() for weight in pruned.get_weights())
    detail = f"finite: {finite}\n{kernels}"
    return Outcome("right" if reached and finite else "wrong", detail)


def _remove_channels(model: keras.Model, folder: Path) -> Outcome:
    removal, x = plan_removal(model, 0.5), samples_of(model, SAMPLES, 0)
    masked, smaller = (_by_name(_called(made, x)) for made in (removal.mask(), removal.apply()))
    return _equal("the smaller model", masked, smaller)


def _train_quantized(model: keras.Model, folder: Path) -> Outcome:
    data = _data(model)
    quantized = leankeras.train_quantized(model, data, epochs=EPOCHS, verbose=0)
    made = leankeras.convert(quantized, folder / "aware.tflite", "int8", data.x_train)
    outputs = _run(made.path, data.x_train)
    finite = all(np.isfinite(output).all() for output in outputs.values())
    return Outcome("right" if finite else "wrong", str(made))


ACTIONS: dict[str, Callable[[keras.Model, Path], Outcome]] = {
    **{f"convert {mode}": lambda m, f, mode=mode: _convert(mode, m, f) for mode in MODES},
    "twin": _twin,
    "prune": _prune,
    "remove channels": _remove_channels,
    "train quantized": _train_quantized,
}


def _data(model: keras.Model) -> Data:
    x, y = samples_of(model, SAMPLES, 0), np.arange(SAMPLES) % 3
    if isinstance(model.output, dict):
        y = {"classes": y, "value": (y - 1.0).astype("float32")}
    return Data(x, y, x, y, x_val=x, y_val=y)


def _structured(model: keras.Model, x: Any) -> Any:
    if not isinstance(x, dict):
        return x
    return x if isinstance(model.input, dict) else [x[tensor.name] for tensor in model.inputs]


def _called(model: keras.Model, x: Any) -> Any:
    return model(_structured(model, x), training=False)


def _by_name(outputs: Any) -> dict[str, np.ndarray]:
    named = outputs if isinstance(outputs, dict) else {"output": outputs}
    return {name: np.asarray(output, "float64") for name, output in named.items()}


def _joined(runs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def _equal(what: str, expected: dict[str, np.ndarray], seen: dict[str, np.ndarray]) -> Outcome:
    apart = _apart(expected, seen)
    detail = f"{what} is off by {apart:.2g}"
    return Outcome("right" if apart <= LIMITS["equal"] else "wrong", detail)


def _apart(expected: dict[str, np.ndarray], seen: dict[str, np.ndarray]) -> float:
    """The largest relative difference of an output: root mean squares, by output."""
    worst = 0.0
    for name, wanted in expected.items():
        given = np.asarray(seen[name], "float64").reshape(wanted.shape)
        size = np.sqrt(np.mean(wanted**2))
        difference = np.sqrt(np.mean((given - wanted) ** 2))
        worst = max(worst, float(difference / max(size, 1e-3)) if difference else 0.0)
        if not np.isfinite(given).all():
            return float("inf")
    return worst


def _run(path: Path, x: Any) -> dict[str, np.ndarray]:
    """A file's outputs by name, sample by sample, in floats."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    arrays = x if isinstance(x, dict) else {next(iter(inputs)): x}
    runs = []
    for index in range(len(next(iter(arrays.values())))):
        given = {
            name: _quantized(arrays[name][index : index + 1], details)
            for name, details in inputs.items()
        }
        result = runner(**given)
        runs.append({name: _real(result[name], outputs[name]) for name in outputs})
    return _joined(runs)


def _quantized(array: np.ndarray, details: dict) -> np.ndarray:
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    if not scale or array.dtype == dtype:
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(array / scale) + zero_point, limits.min, limits.max).astype(dtype)


def _real(array: np.ndarray, details: dict) -> np.ndarray:
    scale, zero_point = details["quantization"]
    return (array.astype("float64") - zero_point) * scale if scale else array.astype("float64")
