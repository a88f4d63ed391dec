"""Keras 3 models as graphs, walked node by node with nested models entered."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
from keras import tree

# Keras has no public way to run a graph on anything but its own tensors, to get the mask of a
# tensor, or to find the class of an operation or of a layer that only its own networks have.
from keras.src import ops
from keras.src.applications import convnext
from keras.src.backend import get_keras_mask, set_keras_mask
from keras.src.models.functional import Functional

from leankeras.arrays import Arrays, identifier, named_or_listed
from leankeras.errors import ModelError

SAMPLE_BATCH = 3
# The size used for a dimension of unknown length: enough for five halvings of an image.
UNKNOWN_LENGTH = 32
# Dtypes and policies that become float32: no .tflite computes in them, and half-precision rounding
# hides the differences of interest.
OTHER_PRECISIONS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


def is_graph(model: keras.Operation) -> bool:
    """Whether a model is Functional or Sequential and computes what its graph says."""
    if isinstance(model, keras.Sequential):
        return True
    return isinstance(model, Functional) and type(model).call is Functional.call


def is_of_keras(layer: keras.Operation) -> bool:
    """Whether a layer's class is Keras's own, neither a user's nor a subclass."""
    return type(layer).__module__.startswith("keras.")


def is_composite(operation: keras.Operation) -> bool:
    """Whether an operation is a user's layer with other layers inside."""
    return (
        isinstance(operation, keras.layers.Layer)
        and not is_of_keras(operation)
        and len(flat_layers(operation)) > 1
    )


def as_graph(model: keras.Model, like: Any = None) -> Functional:
    """Return the graph of a model; a subclassed model becomes a graph of one node.

    Args:
        model: a built Keras 3 model.
        like: see ``copy_model``.
    """
    if isinstance(model, keras.Sequential):
        outputs = model.outputs[0] if len(model.outputs) == 1 else model.outputs
        return keras.Model(model.inputs[0], outputs, name=model.name)
    if is_graph(model):
        return model
    inputs = symbolic_inputs(model, like)
    return keras.Model(inputs, model(inputs), name=f"{model.name}_graph")


def custom_code(model: keras.Layer) -> list[Any]:
    """The classes of a model's layers, and the functions they call, that are not Keras's own."""
    found = {
        code: None
        for layer in flat_layers(model)
        for code in (type(layer), *filter(inspect.isfunction, vars(layer).values()))
        if code.__module__.partition(".")[0] != "keras"
    }
    return list(found)


@contextmanager
def without_dropout(model: keras.Layer) -> Iterator[None]:
    """Keep recurrent cells from drawing dropout masks, which only training uses.

    Keras draws them at inference as well; the graph then holds the state of the random generator
    and can be neither frozen nor converted.
    """
    with ExitStack() as undo:
        for cell in flat_layers(model):
            if hasattr(cell, "get_dropout_mask"):
                for rate in ("dropout", "recurrent_dropout"):
                    undo.callback(setattr, cell, rate, getattr(cell, rate))
                    setattr(cell, rate, 0.0)
        yield


@contextmanager
def unrolled(model: keras.Layer) -> Iterator[None]:
    """Let recurrent layers compute step after step, without a loop, which does not convert."""
    with ExitStack() as undo:
        for layer in flat_layers(model):
            if isinstance(layer, keras.layers.RNN) and not layer.unroll:
                undo.callback(setattr, layer, "unroll", False)
                layer.unroll = True
        yield


def operation_module(name: str) -> str | None:
    """The module of an operation of ``keras.ops``, by its class name such as ``GetItem``."""
    for place in (ops.numpy, ops.nn, ops.core, ops.math, ops.linalg, ops.image, ops.einops):
        found = vars(place).get(name)
        if isinstance(found, type) and issubclass(found, keras.Operation):
            return place.__name__
    return None


def application_module(name: str) -> str | None:
    """The module of a layer that only networks of ``keras.applications`` have, by its class name.

    These are ``LayerScale`` and ``StochasticDepth``.
    """
    found = vars(convnext).get(name)
    own = isinstance(found, type) and found.__module__ == convnext.__name__
    return convnext.__name__ if own else None


def arranged(model: keras.Model, samples: Arrays) -> Any:
    """Samples in the structure of a model's inputs.

    Args:
        model: a built Keras 3 model.
        samples: an array for one input; for several, arrays by input name or in order.

    Raises:
        DataError: the names or the number of arrays differ.
    """
    tensors = getattr(model, "inputs", None)
    if not tensors or (len(tensors) == 1 and not isinstance(samples, Mapping | list | tuple)):
        return samples
    structure = tensors[0] if isinstance(model, keras.Sequential) else model.input
    return tree.pack_sequence_as(structure, named_or_listed(samples, input_names(model)))


def input_names(model: keras.Model) -> list[str]:
    """The names of a built model's inputs, in the order of ``model.inputs``."""
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    if isinstance(structure, dict):
        return sorted(structure)
    return [input_name(tensor) for tensor in model.inputs]


def named_outputs(outputs: Any) -> dict[str, Any]:
    """A model's outputs by name: the keys of a dict, else ``output`` or ``output_0``, ..."""
    if isinstance(outputs, dict) and not any(isinstance(v, dict | list) for v in outputs.values()):
        named = {identifier(name): value for name, value in outputs.items()}
        if len(named) == len(outputs):  # else "a b" and "a_b" would be one
            return named
    flat = tree.flatten(outputs)
    if len(flat) == 1:
        return {"output": flat[0]}
    return {f"output_{index}": value for index, value in enumerate(flat)}


def names_of_outputs(outputs: Any) -> Any:
    """The names of :func:`named_outputs`, nested as the outputs are."""
    names = list(named_outputs(outputs))
    if isinstance(outputs, dict) and len(names) == len(outputs):
        return dict(zip(outputs, names, strict=True))
    return tree.pack_sequence_as(outputs, names)


def output_names(model: keras.Model) -> list[str]:
    """The names of the layers that give a model's outputs, in the order of ``model.outputs``."""
    return [producer(tensor).operation.name for tensor in model.outputs]


def final_activations(model: keras.Model) -> list[str | None]:
    """For each output of a model, the name of the activation it ends in, as far as it has one."""
    if not is_graph(model):
        return []
    found = []
    for tensor in as_graph(model).outputs:
        operation = producer(tensor).operation
        while is_graph(operation):
            operation = producer(as_graph(operation).outputs[0]).operation
        found.append(getattr(getattr(operation, "activation", None), "__name__", None))
    return found


def flat_layers(model: keras.Layer) -> list[keras.Layer]:
    """All layers in a layer or model at any depth, itself first."""
    return list(model._flatten_layers())


def functional(model: keras.Operation) -> keras.Operation:
    """The model that holds the nodes: a Sequential keeps a Functional model inside."""
    return model._functional if isinstance(model, keras.Sequential) else model


def nodes_in_order(model: Functional) -> list[Any]:
    """The nodes of a graph in the order they run, without its input nodes."""
    levels = sorted(model._nodes_by_depth.items(), reverse=True)
    return [node for _, level in levels for node in level if not node.is_input]


def producers(operation: keras.Operation) -> list[Any]:
    """The nodes that call an operation, in any graph."""
    return operation._inbound_nodes


def consumers(operation: keras.Operation) -> list[Any]:
    """The nodes that read an operation's output."""
    return operation._outbound_nodes


def copy_operation(operation: keras.Operation) -> keras.Operation:
    """Copy an operation of ``keras.ops``; its only state is the graphs it was called in."""
    copied = copy.copy(operation)
    copied._inbound_nodes, copied._outbound_nodes = [], []
    return copied


def copy_lambda(layer: keras.layers.Lambda, policy: str) -> keras.layers.Lambda:
    """Copy a Lambda, whose config holds byte code, which safe mode rightly refuses."""
    return keras.layers.Lambda(
        layer.function,
        layer._output_shape,
        layer.mask,
        layer.arguments,
        name=layer.name,
        dtype=policy,
    )


def producer(tensor: keras.KerasTensor) -> Any:
    """The node that produces a symbolic tensor."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def mask_of(tensor: Any) -> Any:
    """The mask that Keras has attached to a tensor, or None."""
    return get_keras_mask(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor, or remove it with None."""
    set_keras_mask(tensor, mask)


def infer(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    """Call an operation, layer or model at inference, and leave its variables unchanged.

    Without ``training=False`` a model may train: Keras's image preprocessing layers default to
    ``training=True``, and so do the layers after them.
    """
    if isinstance(operation, keras.layers.Layer):
        kwargs = {**kwargs, "training": False}
    with keras.StatelessScope():
        return operation(*args, **kwargs)


def packed_inputs(graph: Functional, tensors: list[Any]) -> Any:
    """Tensors in the order of ``graph.inputs``, in the structure that the graph takes."""
    return tree.pack_sequence_as(graph._inputs_struct, tensors)


def input_name(tensor: Any) -> str:
    """The name of the input layer that a symbolic tensor comes from."""
    return tensor._keras_history.operation.name


def new_inputs(graph: Functional, make: Callable[..., Any] = keras.Input) -> Any:
    """Make inputs like those of a graph, named like its input layers and nested like its inputs.

    Floats become float32.

    Args:
        graph: what ``as_graph`` returned.
        make: ``keras.Input`` or ``tf_keras.Input``.
    """
    inputs = [
        # The tensors themselves have a name only if the user gave one.
        make(batch_shape=t.shape, dtype=single_precision(t.dtype), name=input_name(t))
        for t in graph.inputs
    ]
    return packed_inputs(graph, inputs)


def walk(
    graph: Functional, inputs: Any, call: Callable[[keras.Operation, tuple, dict], Any]
) -> Any:
    """Run through a graph in order and call ``call(operation, args, kwargs)`` at each node.

    Nested models are entered, and masks go in with their inputs. The ``training`` argument is left
    out: Keras 3 records its value when the graph is built, and overrides it at run time.

    Args:
        graph: what ``as_graph`` returned.
        inputs: tensors of any kind, in the order of ``graph.inputs``.
        call: computes the outputs of a node from arguments that hold tensors of that kind.

    Returns:
        The outputs, nested like those of the graph.
    """

    def call_node(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("training", None)
        if not is_graph(operation):
            return call(operation, args, kwargs)
        nested, given = as_graph(operation), args[0] if args else kwargs["inputs"]
        if isinstance(given, dict) and not isinstance(nested._inputs_struct, dict):
            given = [given[input_name(tensor)] for tensor in nested.inputs]
        if kwargs.get("mask") is not None:
            for tensor, mask in zip(tree.flatten(given), tree.flatten(kwargs["mask"]), strict=True):
                set_mask(tensor, mask)
        return walk(nested, given, call)

    return run_graph(graph, inputs, call_node)


def run_graph(
    graph: Functional,
    inputs: Any,
    call: Callable[..., Any] | None = None,
    exchange: Callable[[keras.Operation], keras.Operation] = lambda operation: operation,
) -> Any:
    """Run through a graph in order, treating nested models like any other operation.

    Args:
        graph: a Functional model.
        inputs: tensors of any kind, in the order of ``graph.inputs``.
        call: gets an operation and its arguments, and returns its outputs; None calls it.
        exchange: returns the operation to call in place of one of the graph.
    """
    return graph._run_through_graph(tree.flatten(inputs), operation_fn=exchange, call_fn=call)


def single_precision(dtype: Any) -> Any:
    """The given dtype or policy name, or float32 for any other float precision."""
    return "float32" if dtype in OTHER_PRECISIONS else dtype


def symbolic_inputs(model: keras.Model, like: Any) -> Any:
    """Inputs to build the graph of a subclassed model with; ``like`` as for ``copy_model``."""
    if like is not None:
        return _inputs_of(like)
    built_with = (model.get_build_config() or {}).get("input_shape")
    if built_with is None:
        raise ModelError(
            f"{model.name} is a subclassed model that was never called; give input_shape, the "
            "shape of one sample"
        )
    return _inputs_of(built_with, batched=True)


def _inputs_of(like: Any, batched: bool = False) -> Any:
    if isinstance(like, dict):
        return {name: _inputs_of(item, batched) for name, item in like.items()}
    if hasattr(like, "dtype"):
        return keras.Input(like.shape[1:], dtype=single_precision(str(like.dtype)))
    if any(isinstance(item, tuple | list) or hasattr(item, "dtype") for item in like):
        return [_inputs_of(item, batched) for item in like]
    return keras.Input(tuple(like[1:] if batched else like))


def sample_inputs(model: keras.Model) -> list[np.ndarray]:
    """Draw a random batch for each input of a graph: indices for inputs that are looked up.

    The first sample ends in padding, so that masks have something to mask.

    Args:
        model: a Functional Keras 3 model.
    """
    generator = np.random.default_rng(0)
    layers = flat_layers(model)
    limits = [
        limit
        for layer in layers
        for attribute in ("input_dim", "num_tokens")
        if isinstance(limit := getattr(layer, attribute, None), int)
    ]
    paddings = [layer.mask_value for layer in layers if isinstance(layer, keras.layers.Masking)]
    batches = []
    for tensor in model.inputs:
        shape = [
            size or (UNKNOWN_LENGTH if axis else SAMPLE_BATCH)
            for axis, size in enumerate(tensor.shape)
        ]
        if "int" in tensor.dtype or "bool" in tensor.dtype or _is_looked_up(model, tensor):
            values = generator.integers(0, min(limits, default=2), shape)
        elif "float" in tensor.dtype:
            values = generator.standard_normal(shape)
        else:
            raise ModelError(
                f"input {tensor.name} has dtype {tensor.dtype}; expected numbers, so leave "
                "text preprocessing out of the model"
            )
        if len(shape) > 1:
            values[0, -1] = (*paddings, 0)[0]
        batches.append(values.astype(single_precision(tensor.dtype)))
    return batches


def _is_looked_up(model: keras.Model, tensor: Any) -> bool:
    """Whether an input goes into a lookup layer, or into a model that contains one."""
    lookups = (keras.layers.Embedding, keras.layers.CategoryEncoding)
    for layer in model.layers:
        inputs = [t for node in producers(layer) for t in node.input_tensors]
        if any(t is tensor for t in inputs) and any(
            isinstance(inner, lookups) for inner in flat_layers(layer)
        ):
            return True
    return False


def with_mask(tensor: Any, mask: Any) -> Any:
    """A copy of a tensor that carries a mask to the layers it is given to.

    Args:
        tensor: shape ``(batch, time, ...)``.
        mask: truth values, shape ``(batch, time)``.
    """
    copied = keras.ops.copy(tensor)
    set_keras_mask(copied, mask)
    return copied
