"""What no model can be better than: a file that only passes its inputs on."""

from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from leankeras.arrays import first
from leankeras.budget import Budget
from leankeras.conversion import convert
from leankeras.data import Data
from leankeras.errors import ParameterError
from leankeras.graph import input_names
from leankeras.runtime import compare_latency


def check_reachable(model: keras.Model, data: Data, budget: Budget) -> None:
    """Refuse limits that not even an empty model with the same inputs would keep.

    Args:
        model: its inputs are used.
        data: its first test sample is what latency is measured on.
        budget: the limits.

    Raises:
        ParameterError: latency or size is below what the empty model takes.
    """
    if budget.latency_us is None and budget.size_kb is None:
        return
    named = {
        name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in zip(input_names(model), model.inputs, strict=True)
    }
    inputs = list(named.values())
    passed = [keras.layers.Flatten()(tensor)[:, :1] for tensor in inputs]
    empty = keras.Model(named if len(inputs) > 1 else inputs[0], passed, name="empty")
    with TemporaryDirectory() as folder:
        path = convert(empty, Path(folder) / "empty.tflite", "float32").path
        size = path.stat().st_size / 1000
        row = compare_latency({"empty": path}, first(data.samples("test"))).table.loc["empty"]
    for limit, least, unit in (
        (budget.latency_us, row.us_low, "µs"),
        (budget.size_kb, size, "kB"),
    ):
        if limit is not None and limit < least:
            raise ParameterError(
                f"budget: saw {limit:.3g} {unit}; a file that only passes these inputs on takes "
                f"{least:.3g} {unit}, so no model can keep that; expected more"
            )
