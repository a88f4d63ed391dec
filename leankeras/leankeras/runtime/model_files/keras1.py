"""Files of Keras 1, whose layers had other argument names and other arrays.

The arguments are those that the Keras 2.0 documentation lists as renamed, the arrays those that
``preprocess_weights_for_loading`` of Keras 2 rearranges.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from leankeras.errors import ModelError

HOW = "build the model in Keras 3 and set its weights from the file"
RENAMED = {
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "SeparableConvolution2D": "SeparableConv2D",
}
MERGES = {
    "sum": "Add",
    "mul": "Multiply",
    "ave": "Average",
    "max": "Maximum",
    "concat": "Concatenate",
}
RECURRENT = ("LSTM", "GRU", "SimpleRNN")
ARGUMENTS = {
    "border_mode": "padding",
    "subsample": "strides",
    "subsample_length": "strides",
    "atrous_rate": "dilation_rate",
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "pool_length": "pool_size",
    "stride": "strides",
    "bias": "use_bias",
    "p": "rate",
    "sigma": "stddev",
    "inner_activation": "recurrent_activation",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
}
# Origins of initial values, ways to split the work, and values that later versions infer.
MEANINGLESS = (
    "init", "inner_init", "forget_bias_init", "consume_less", "input_dtype", "input_dim",
    "input_length", "dim_ordering", "mode", "weights", "beta_init", "gamma_init",
)  # fmt: skip
# A gate's place among the arrays of Keras 1, in the order in which Keras 2 concatenates gates.
GATES = {"LSTM": (0, 2, 1, 3), "GRU": (0, 1, 2)}


def as_keras2(
    entry: dict, weights: Mapping[str, list[np.ndarray]]
) -> tuple[dict, dict[str, list[np.ndarray]]]:
    """A model's entry and the weights of its layers as Keras 2 would have written them.

    Raises:
        ModelError: a layer is one that Keras 2 no longer had.
    """
    config = entry["config"]
    listed = config if isinstance(config, list) else config["layers"]
    layers = [_layer(each) for each in listed]
    kinds = {
        each.get("name", old["config"]["name"]): each
        for each, old in zip(layers, listed, strict=True)
    }
    arrays = {
        name: _arrays(kinds[name], values) if name in kinds else values
        for name, values in weights.items()
    }
    made = layers if isinstance(config, list) else config | {"layers": layers}
    return {**entry, "config": made}, arrays


def _layer(entry: dict) -> dict:
    kind, config = entry["class_name"], entry["config"]
    if kind in ("Sequential", "Model"):
        raise ModelError(f"holds a Keras 1 model in a model ({entry.get('name', kind)}); {HOW}")
    config = dict(config)
    name = config.get("name")
    if kind == "Merge":
        kind, config = _merge(config)
    if kind in ("TimeDistributed", "Bidirectional"):
        config["layer"] = _layer(config["layer"])
    if config.get("dim_ordering") == "th":
        raise ModelError(f"layer {name} has channels first (Theano's order); {HOW}")
    if kind == "BatchNormalization" and config.get("mode", 0) not in (0, 2):
        raise ModelError(f"layer {name} normalizes in mode {config['mode']}; {HOW}")
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    if "output_dim" in config and kind != "Embedding":
        config["filters" if "Conv" in kind else "units"] = config.pop("output_dim")
    kept = ()
    if kind == "Embedding":
        config.pop("dropout", None)  # dropout of its weights, in training
        kept = ("input_dim",)
    config = {
        ARGUMENTS.get(argument, argument): _value(value)
        for argument, value in config.items()
        if argument not in MEANINGLESS or argument in kept
    }
    return {**entry, "class_name": RENAMED.get(kind, kind), "config": config}


def _merge(config: dict) -> tuple[str, dict]:
    if config["mode"] not in MERGES or config.get("layers"):
        raise ModelError(f"layer {config['name']} merges by {config['mode']!r}; {HOW}")
    made = {"name": config["name"]}
    if config["mode"] == "concat":
        made["axis"] = config["concat_axis"]
    return MERGES[config["mode"]], made


def _value(value: Any) -> Any:
    if isinstance(value, dict) and value.get("name") == "WeightRegularizer":
        return {"class_name": "L1L2", "config": {name: value[name] for name in ("l1", "l2")}}
    return value


def _arrays(entry: dict, arrays: list[np.ndarray]) -> list[np.ndarray]:
    kind, config = entry["class_name"], entry["config"]
    if kind == "TimeDistributed":
        return _arrays(config["layer"], arrays)
    if kind == "Bidirectional":
        half = len(arrays) // 2
        return [
            array
            for part in (arrays[:half], arrays[half:])
            for array in _arrays(config["layer"], part)
        ]
    if kind == "Conv1D" and arrays and arrays[0].ndim == 4:  # (length, 1, channels, filters)
        return [arrays[0][:, 0], *arrays[1:]]
    if kind in GATES and len(arrays) == 3 * len(GATES[kind]):
        # an array for each gate: kernels, recurrent kernels and biases in turns
        return [
            np.concatenate([arrays[3 * gate + part] for gate in GATES[kind]], axis=-1)
            for part in range(3)
        ]
    return arrays
