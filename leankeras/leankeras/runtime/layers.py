"""Where a model's time goes, layer by layer, inside the running model.

A layer timed on its own pays for its own call and misses what TensorFlow fuses or overlaps, so
isolated times add up to far more than the model. Instead the model is cut after every layer and
the growing prefixes are timed side by side; a layer's cost is the difference between its prefix
and the one before. The costly layers are cross-checked the other way round: the whole model is
timed with the layer swapped for one that does next to nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from leankeras.arrays import Arrays, named_or_listed
from leankeras.errors import MeasurementError
from leankeras.graph import functional, input_names, is_graph, nodes_in_order
from leankeras.runtime.artifacts import as_call
from leankeras.runtime.latency import paired_rounds

SWAP_FROM_SHARE = 0.2
AGREEMENT = 0.1


class _Stub(keras.Layer):
    """Returns tensors like the given ones that depend on the input and cost one broadcast each."""

    def __init__(self, outputs: Sequence[keras.KerasTensor], **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.outputs = [(tensor.shape, tensor.dtype) for tensor in outputs]

    def compute_mask(self, *_):
        return None

    def call(self, *args, **kwargs):  # any arguments, like those of the swapped layer
        tensors = (each for each in keras.tree.flatten((args, kwargs)) if ops.is_tensor(each))
        first = next(tensors)
        scalar = ops.mean(first[(slice(None), *(slice(1),) * (len(first.shape) - 1))])
        outputs = [
            ops.cast(ops.broadcast_to(scalar, (ops.shape(first)[0], *shape[1:])), dtype)
            for shape, dtype in self.outputs
        ]
        return outputs[0] if len(outputs) == 1 else outputs


def profile_layers(model: keras.Model, sample: Arrays) -> pd.DataFrame:
    """Share of each layer in the latency of a Keras model as a ``tf.function``.

    Args:
        model: a built Functional or Sequential model.
        sample: one input with its batch axis, shape ``(1, ...)``; of several inputs arrays by
            name, or in order.

    Returns:
        A row for each layer in the order they run, after "(call)", the time TensorFlow takes to
        call a function that does nothing: ``layer``, ``type``, ``share`` of the whole (a
        fraction), ``us`` microseconds; for layers that are called once and take at least a fifth
        also ``share_by_swap``, the share by swapping the layer out, and ``agree``, whether the two
        are within 10 points.

    Raises:
        MeasurementError: the model is subclassed, so it cannot be cut.

    Example:
        >>> shares = profile_layers(model, data.x_test[:1])
        >>> shares.loc[shares.share.idxmax(), "layer"]
    """
    graph = functional(model)
    if not is_graph(model):
        raise MeasurementError(
            f"{model.name} cannot be cut between its layers; expected a built Functional or "
            "Sequential model"
        )
    if len(model.inputs) > 1:
        sample = named_or_listed(sample, input_names(model))
    nodes, prefixes = _prefixes(graph)
    undisturbed = _undisturbed_us(prefixes, sample)
    steps = np.diff(undisturbed, prepend=0)
    table = pd.DataFrame(
        {
            "layer": list(prefixes),
            "type": ["", *(type(node.operation).__name__ for node in nodes)],
            "share": steps / undisturbed.iloc[-1],
            "us": steps,
        }
    )
    return table.join(_shares_by_swap(model, table, nodes, sample))


def _prefixes(model: keras.Model) -> tuple[list[Any], dict[str, Any]]:
    """The nodes in the order they run, and by layer the model cut after each."""
    nodes = nodes_in_order(model)
    kept = {id(tensor) for tensor in model.outputs}
    prefixes = {
        "(call)": keras.Model(model.inputs, [keras.layers.Identity()(i) for i in model.inputs])
    }
    for index, node in enumerate(nodes):
        needed = kept | {
            id(tensor) for later in nodes[index + 1 :] for tensor in later.input_tensors
        }
        computed = [tensor for done in nodes[: index + 1] for tensor in done.outputs]
        frontier = [tensor for tensor in computed if id(tensor) in needed]
        name = node.operation.name
        calls = sum(known.split(" #")[0] == name for known in prefixes)
        prefixes[f"{name} #{calls + 1}" if calls else name] = keras.Model(model.inputs, frontier)
    return nodes, prefixes


def _shares_by_swap(
    model: keras.Model, table: pd.DataFrame, nodes: list[Any], sample: Arrays
) -> pd.DataFrame:
    """Columns ``share_by_swap`` and ``agree`` for the rows of the costliest layers."""
    calls = Counter(id(node.operation) for node in nodes)
    swapped = {
        row: keras.models.clone_model(model, clone_function=_stub_for(nodes[row - 1]))
        for row in table.index[table.share >= SWAP_FROM_SHARE]
        if row > 0
        and isinstance(nodes[row - 1].operation, keras.Layer)
        and calls[id(nodes[row - 1].operation)] == 1
    }
    columns = pd.DataFrame(index=table.index, columns=["share_by_swap", "agree"], dtype=object)
    if swapped:
        us = _undisturbed_us({"whole": model, **swapped}, sample)
        for row in swapped:
            share = 1 - us[row] / us["whole"]
            columns.loc[row] = share, bool(abs(share - table.share[row]) <= AGREEMENT)
    return columns


def _undisturbed_us(models: dict[Any, keras.Model], sample: Arrays) -> pd.Series:
    """Microseconds of each model, the 10th percentile over the rounds.

    Differences of medians would add up the disturbances of each; on a busy machine that is more
    than most layers take.
    """
    calls = {name: [as_call(model, sample)] for name, model in models.items()}
    # With warm caches the two methods differ by 6 to 14 points, as the layers after a costly one
    # are then charged for the state it leaves behind; without, by 5 at most (signal and vision).
    seconds = paired_rounds(calls, warm=False).seconds
    return pd.Series({name: 1e6 * np.quantile(times, 0.1) for name, times in seconds.items()})


def _stub_for(node: Any) -> Callable[[keras.Layer], keras.Layer]:
    layer = node.operation
    return lambda each: _Stub(node.outputs, name=layer.name) if each is layer else each
