"""Differences in names and computation between Keras 2 and Keras 3, layer by layer.

Keras 3 reads most configs of Keras 2 unchanged; the rules here cover arguments at which it would
stop, or with which it would compute something else (``hard_sigmoid``).
"""

import inspect
from typing import Any

import keras
import numpy as np

from leankeras.errors import ModelError

RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "UnifiedGRU": "GRU",
    "UnifiedLSTM": "LSTM",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "ThresholdedReLU": "ReLU",
}
REMOVED = (
    "DenseFeatures", "Highway", "LocallyConnected1D", "LocallyConnected2D", "MaxoutDense", "Merge",
    "RandomFourierFeatures", "RandomHeight", "RandomWidth", "TimeDistributedDense",
)  # fmt: skip
CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "ConvLSTM2D")
ANY = object()
# Arguments that Keras 3 does not have, and the values that do not change a result.
DROPPED = {
    "adjustment": (None,),
    "batch_input_shape": ANY,
    "causal": (False,),
    "fused": ANY,
    "groups": (None, 1),
    "implementation": ANY,
    "input_dtype": ANY,
    "input_length": ANY,
    "input_shape": ANY,
    "kernel_constraint": ANY,  # of a separable convolution, which has no kernel of that name
    "kernel_regularizer": ANY,
    "key_shape": ANY,
    "noise_shape": (None,),
    "query_shape": ANY,
    "ragged": (None, False),
    "rng_type": ANY,
    "softmax_robust_masking": (None, False),
    "time_major": (None, False),
    "trainable": ANY,
    "value_shape": ANY,
    "virtual_batch_size": (None,),
    "vocabulary_size": ANY,
}
POLICIES = ("Policy", "PolicyV1", "DTypePolicy", "LossScaleOptimizer")
CONSTRAINTS = ("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "RadialConstraint")
REGULARIZERS = (*CONSTRAINTS, "L1", "L2", "L1L2", "OrthogonalRegularizer")
OPERATIONS_OF_TENSORFLOW = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
TENSORFLOW_FUNCTIONS = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
    "math.truediv": "TrueDivide",
    "math.divide": "TrueDivide",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.silu": "Silu",
    "nn.swish": "Silu",
    "math.sigmoid": "Sigmoid",
    "nn.sigmoid": "Sigmoid",
    "math.tanh": "Tanh",
    "nn.tanh": "Tanh",
}


@keras.saving.register_keras_serializable("leankeras", "hard_sigmoid_of_keras_2")
def hard_sigmoid(x: Any) -> Any:
    """Keras 2's hard sigmoid, ``clip(0.2 x + 0.5, 0, 1)``; Keras 3's has a slope of 1/6."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def layer(kind: str, config: dict) -> tuple[str, dict]:
    """Class and config of a built-in layer in Keras 3.

    Args:
        kind: the class's name in Keras 2.
        config: its config, with the values in it as Keras 3 writes them.

    Raises:
        ModelError: it has an argument that Keras 3 cannot honour.
    """
    config = dict(config)
    if kind in ("GRU", "GRUCell", "CuDNNGRU"):  # default from before the argument existed
        config.setdefault("reset_after", kind == "CuDNNGRU")
    kind = RENAMED.get(kind, kind)
    for argument in ("activation", "recurrent_activation"):
        if config.get(argument) == "hard_sigmoid":
            config[argument] = keras.saving.serialize_keras_object(hard_sigmoid)
    if kind == "InputLayer" and "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
    if kind == "LeakyReLU" and "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    if "theta" in config:  # a ThresholdedReLU
        config["threshold"] = config.pop("theta")
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        (config["axis"],) = axis
    accepted = _arguments(getattr(keras.layers, kind))
    for argument in set(config) - accepted:
        value, harmless = config.pop(argument), DROPPED.get(argument, (None,))
        if harmless is not ANY and value not in harmless:
            raise ModelError(
                f"layer {config.get('name')} ({kind}) has {argument}={value!r}, which Keras 3 does "
                "not have; rebuild the layer in Keras 3"
            )
    return kind, config


def arrays(entry: dict, values: list[np.ndarray], backend: str) -> list[np.ndarray]:
    """A layer's weights in the layout of Keras 3, which has no separate cuDNN layers.

    Args:
        entry: the layer's entry in the file.
        values: its weights as stored there.
        backend: the backend of Keras; Theano's convolutions flip their kernels.
    """
    kind, gates = entry["class_name"], {"CuDNNLSTM": 4, "CuDNNGRU": 3}
    if kind == "Bidirectional":
        half, inner = len(values) // 2, entry["config"]["layer"]
        return [*arrays(inner, values[:half], backend), *arrays(inner, values[half:], backend)]
    if kind == "TimeDistributed":
        return arrays(entry["config"]["layer"], values, backend)
    if backend == "theano" and values and kind in CONVOLUTIONS:
        kernel = values[0]
        return [np.flip(kernel, tuple(range(kernel.ndim - 2))), *values[1:]]
    if kind not in gates:
        return values
    kernel, recurrent, bias = values
    kernels = np.split(kernel, gates[kind], axis=-1)
    return [
        np.concatenate([k.T.reshape(k.shape, order="F") for k in kernels], axis=-1),
        np.concatenate([k.T for k in np.split(recurrent, gates[kind], axis=-1)], axis=-1),
        bias.reshape(2, -1) if kind == "CuDNNGRU" else bias.reshape(2, -1).sum(axis=0),
    ]


def policy(value: dict) -> str:
    """The name of a dtype policy."""
    name = value["config"].get("name", "float32")
    return "float32" if name.startswith("infer") else name


def _arguments(cls: type) -> set[str]:
    """The arguments of a layer's constructor, including those it passes on to its bases."""
    found: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        found |= set(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return found
