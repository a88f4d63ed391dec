"""Running a .tflite file with only LiteRT and NumPy, which works on a Raspberry Pi as well."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from leankeras.arrays import Arrays, identifier
from leankeras.errors import DataError, ModelError, one_line
from leankeras.rows import unread
from leankeras.runtime.flatbuffer import TFLiteFile
from leankeras.startup import hushed


class LiteRTModel:
    """A .tflite file ready to run, with floats in and out whatever its own types are.

    Args:
        path: the .tflite file.
        threads: CPU threads, 1 or more.
        xnnpack: whether the XNNPACK delegate runs what it can; without it, built-in kernels do.
        keep_tensors: whether intermediate tensors can be read after a run (costs memory and
            leaves the delegate out).

    Attributes:
        input_details: name to LiteRT's details (index, shape, dtype, quantization).
        output_details: the same for the outputs.

    Raises:
        ModelError: the file is not a .tflite, or LiteRT cannot run it.

    Example:
        >>> model = LiteRTModel("model.tflite")
        >>> model(x_test).argmax(axis=-1)
    """

    def __init__(
        self,
        path: str | Path,
        threads: int = 1,
        xnnpack: bool = True,
        keep_tensors: bool = False,
    ) -> None:
        file = TFLiteFile(path)
        plain = keep_tensors or not xnnpack
        try:
            with hushed():  # LiteRT announces its delegate
                self.interpreter = Interpreter(
                    model_content=file.content,
                    num_threads=threads,
                    experimental_preserve_all_tensors=keep_tensors,
                    experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                    if plain
                    else OpResolverType.AUTO,
                )
                self.interpreter.allocate_tensors()
            self.input_details = _named(file.inputs, self.interpreter.get_input_details())
            self.output_details = _named(file.outputs, self.interpreter.get_output_details())
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{path}: LiteRT cannot load it ({one_line(error)}); convert the model again "
                "with leankeras.convert"
            ) from error
        self._tensor_details: dict[int, dict] = {}

    def __call__(self, x: Arrays) -> np.ndarray | dict[str, np.ndarray]:
        """Run samples one by one.

        Args:
            x: for one input, an array of samples ``(n, ...)`` or one sample without the batch
                axis; for several, a mapping by input name, or a sequence in the order of
                :attr:`input_details`. Floats are quantized if the file takes integers.

        Returns:
            Floats, with a batch axis if ``x`` has one; for several outputs, a dict by output
            name.

        Raises:
            DataError: the wrong shape, number or names of arrays.
        """
        _, batched = self._batches(x)
        runs = []
        for sample in self.samples(x):
            self.interpreter.reset_all_variables()
            self.set_inputs(sample)
            self.invoke()
            runs.append(self.outputs())
        results = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
        if not batched:
            results = {name: result[0] for name, result in results.items()}
        return results if len(results) > 1 else next(iter(results.values()))

    def bind(self, x: Arrays) -> Callable[[], list[np.ndarray]]:
        """A function of no arguments that makes one inference: copy in, invoke, copy out.

        The sample is converted to the file's own type once, here, so a latency does not include
        the conversion.

        Args:
            x: one sample, with or without its batch axis of 1.

        Returns:
            The function; its results are the outputs in the file's own types, in order.
        """
        arrays, _ = self._batches(x)
        prepared = [
            (details["index"], quantized(name, arrays[name], details))
            for name, details in self.input_details.items()
        ]
        indices = [details["index"] for details in self.output_details.values()]
        set_tensor, invoke = self.interpreter.set_tensor, self.interpreter.invoke
        get_tensor = self.interpreter.get_tensor

        def infer() -> list[np.ndarray]:
            for index, array in prepared:
                set_tensor(index, array)
            invoke()
            return [get_tensor(index) for index in indices]

        return infer

    def samples(self, x: Arrays, limit: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """The samples in ``x`` one by one, each array with a batch axis of 1; at most ``limit``."""
        arrays, _ = self._batches(x)
        for k in range(len(next(iter(arrays.values()))))[:limit]:
            yield {name: array[k : k + 1] for name, array in arrays.items()}

    def set_inputs(self, sample: Mapping[str, np.ndarray]) -> None:
        """Copy one sample in, each array with its batch axis of 1."""
        for name, details in self.input_details.items():
            self.interpreter.set_tensor(details["index"], quantized(name, sample[name], details))

    def invoke(self) -> None:
        """Run once on the inputs that are set. State from the previous run is kept."""
        self.interpreter.invoke()

    def outputs(self) -> dict[str, np.ndarray]:
        """The outputs of the last run by name; quantized ones are converted to floats."""
        return {
            name: dequantized(self.interpreter.get_tensor(details["index"]), details)
            for name, details in self.output_details.items()
        }

    def tensor(self, index: int) -> np.ndarray:
        """A tensor after a run, as floats; intermediate ones need ``keep_tensors``."""
        if index not in self._tensor_details:
            self._tensor_details[index] = self.interpreter._get_tensor_details(index, 0)
        return dequantized(self.interpreter.get_tensor(index), self._tensor_details[index])

    def _batches(self, x: Arrays) -> tuple[dict[str, np.ndarray], bool]:
        names = {identifier(name): name for name in self.input_details}
        if isinstance(x, Mapping):
            given = {identifier(name): array for name, array in x.items()}
        else:
            listed = [x] if len(names) == 1 and not isinstance(x, list | tuple) else list(x)
            given = dict(zip(names, listed, strict=False)) if len(listed) == len(names) else {}
        if set(given) != set(names):
            raise DataError(
                f"inputs {', '.join(given) or f'({len(x)} of them)'}; this file takes "
                f"{', '.join(names.values())}"
            )
        arrays = {names[key]: unread(array) for key, array in given.items()}
        ranks = {
            arrays[name].ndim - len(details["shape"])
            for name, details in self.input_details.items()
        }
        batched = ranks == {0}
        if not batched:
            arrays = {name: np.asarray(array)[np.newaxis] for name, array in arrays.items()}
        for name, details in self.input_details.items():
            expected = tuple(int(size) for size in details["shape"])
            if expected[:1] not in ((1,), ()):
                raise DataError(
                    f"input {name} has a batch of {expected[0]} fixed in the file; expected 1, so "
                    "convert the model with leankeras.convert"
                )
            if arrays[name].shape[1:] != expected[1:]:
                raise DataError(
                    f"input {name} has shape {arrays[name].shape}; expected {expected[1:]}, or "
                    f"(n, {', '.join(map(str, expected[1:]))}) for several samples"
                )
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) != 1 or lengths == {0}:
            raise DataError(f"inputs have {sorted(lengths)} samples; expected equal numbers, > 0")
        return arrays, batched


def _named(names: Mapping[str, int], details: Sequence[dict]) -> dict[str, dict]:
    by_index = {entry["index"]: entry for entry in details}
    return {name: by_index[index] for name, index in names.items()}


def quantized(name: str, array: np.ndarray, details: dict) -> np.ndarray:
    """Values in a tensor's own type, using its scale and zero point if it has them."""
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    if scale:
        limits = np.iinfo(dtype)
        rounded = np.round(array / scale) + zero_point
        return np.clip(rounded, limits.min, limits.max).astype(dtype)
    converted = array.astype(dtype)
    if np.issubdtype(dtype, np.integer) and not np.array_equal(converted, array):
        raise DataError(f"input {name} holds {array.dtype} values; expected whole {dtype} numbers")
    return converted


def dequantized(array: np.ndarray, details: dict) -> np.ndarray:
    """A tensor's values as floats if it has scales and zero points, else unchanged."""
    parameters = details["quantization_parameters"]
    scales = parameters["scales"]
    if not len(scales):
        return array
    shape = [1] * array.ndim
    if len(scales) > 1:
        shape[parameters["quantized_dimension"]] = len(scales)
    zero_points = parameters["zero_points"].astype(np.float32).reshape(shape)
    return (array.astype(np.float32) - zero_points) * scales.reshape(shape)
