"""Keras 3 models as graphs: copied, walked node by node, nested models written out."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
from keras import tree

# Keras has no public way to run a graph on something else than its own tensors, nor to find the
# class of an operation.
from keras.src import ops
from keras.src.models.functional import Functional

from leankeras.arrays import Arrays, identifier, named_or_listed
from leankeras.errors import ModelError, TwinError, one_line

SAMPLE_BATCH = 3
# What a dimension of unknown length is tried with: enough for five halvings of an image.
UNKNOWN_LENGTH = 32


def is_graph(model: keras.Operation) -> bool:
    """Whether a model is Functional or Sequential and computes what its graph says."""
    if isinstance(model, keras.Sequential):
        return True
    return isinstance(model, Functional) and type(model).call is Functional.call


def as_graph(model: keras.Model, input_shape: Any = None) -> Functional:
    """Return the graph of a model; a subclassed model becomes a graph of one node.

    Args:
        model: a built Keras 3 model.
        input_shape: see ``copy_model``.
    """
    if isinstance(model, keras.Sequential):
        outputs = model.outputs[0] if len(model.outputs) == 1 else model.outputs
        return keras.Model(model.inputs[0], outputs, name=model.name)
    if is_graph(model):
        return model
    inputs = _symbolic_inputs(model, input_shape)
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
    """Keep recurrent cells from drawing the masks of their dropout, which only training uses.

    Keras draws them at inference as well; the state of the random numbers is then written in the
    graph, which can be neither frozen nor converted.
    """
    with ExitStack() as undo:
        for cell in flat_layers(model):
            if hasattr(cell, "get_dropout_mask"):
                for rate in ("dropout", "recurrent_dropout"):
                    undo.callback(setattr, cell, rate, getattr(cell, rate))
                    setattr(cell, rate, 0.0)
        yield


def operation_module(name: str) -> str | None:
    """The module of an operation of ``keras.ops`` by its class's name, such as ``GetItem``."""
    for place in (ops.numpy, ops.nn, ops.core, ops.math, ops.linalg, ops.image, ops.einops):
        found = vars(place).get(name)
        if isinstance(found, type) and issubclass(found, keras.Operation):
            return place.__name__
    return None


def arranged(model: keras.Model, samples: Arrays) -> Any:
    """Samples in the structure that a model takes its inputs in.

    Args:
        model: a built Keras 3 model.
        samples: an array for one input; for several arrays by input name, or in order.

    Raises:
        DataError: other names, or another number of arrays.
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


def flat_layers(model: keras.Layer) -> list[keras.Layer]:
    """All layers in a layer or model, itself first, however deep they lie."""
    return list(model._flatten_layers())


def functional(model: keras.Operation) -> keras.Operation:
    """What holds the nodes of a model: a Sequential keeps a Functional model inside."""
    return model._functional if isinstance(model, keras.Sequential) else model


def nodes_in_order(model: Functional) -> list[Any]:
    """The nodes of a graph in the order they run, those of its inputs left out."""
    levels = sorted(model._nodes_by_depth.items(), reverse=True)
    return [node for _, level in levels for node in level if not node.is_input]


def producers(operation: keras.Operation) -> list[Any]:
    """The nodes that call an operation, in whatever graph."""
    return operation._inbound_nodes


def consumers(operation: keras.Operation) -> list[Any]:
    """The nodes that read what an operation gives."""
    return operation._outbound_nodes


def packed_inputs(graph: Functional, tensors: list[Any]) -> Any:
    """Tensors in the order of ``graph.inputs``, in the structure that the graph takes."""
    return tree.pack_sequence_as(graph._inputs_struct, tensors)


def input_name(tensor: Any) -> str:
    """The name of the input layer that a symbolic tensor comes from."""
    return tensor._keras_history.operation.name


def new_inputs(graph: Functional, make: Callable[..., Any] = keras.Input) -> Any:
    """Make inputs like those of a graph, named as its input layers, and nested as its inputs.

    Args:
        graph: what ``as_graph`` returned.
        make: ``keras.Input`` or ``tf_keras.Input``.
    """
    inputs = [
        # The tensors themselves bear a name only where the user gave one.
        make(batch_shape=t.shape, dtype=t.dtype, name=input_name(t))
        for t in graph.inputs
    ]
    return packed_inputs(graph, inputs)


def walk(
    graph: Functional, inputs: Any, call: Callable[[keras.Operation, tuple, dict], Any]
) -> Any:
    """Run through a graph in order and call ``call(operation, args, kwargs)`` at each node.

    Models nested in it are entered. The ``training`` argument is left out: Keras 3 records what
    it was while the graph was drawn, and overrides it at run time.

    Args:
        graph: what ``as_graph`` returned.
        inputs: tensors of any kind, in the order of ``graph.inputs``.
        call: computes the outputs of a node from arguments that hold tensors of that kind.

    Returns:
        The outputs, nested as those of the graph.
    """

    def call_node(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("training", None)
        if is_graph(operation):
            return walk(as_graph(operation), args[0] if args else kwargs["inputs"], call)
        return call(operation, args, kwargs)

    return graph._run_through_graph(tree.flatten(inputs), call_fn=call_node)


def run_with(
    graph: Functional, inputs: Any, stand_in: Callable[[keras.Operation], keras.Operation]
) -> Any:
    """The outputs of a graph on other inputs, with another operation in place of each of its own.

    Args:
        graph: what ``as_graph`` returned.
        inputs: tensors, nested as those of the graph.
        stand_in: gives the operation to call instead of one of the graph's.
    """
    return graph._run_through_graph(inputs, operation_fn=stand_in)


def copy_model(model: keras.Model, input_shape: Any = None) -> keras.Model:
    """Copy a Keras 3 model with its weights; layers are made anew from their configs.

    Args:
        model: a built model, or a subclassed one with ``input_shape``.
        input_shape: shape of one sample, without the batch; needed for a subclassed model that
            has not been called. A list or dict of shapes for several inputs.

    Raises:
        ModelError: not a built Keras 3 model.
        TwinError: a layer cannot be made from its config.
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"got {type(model).__name__}; expected a Keras 3 model (keras.Model)")
    if isinstance(model, keras.Sequential) and not model.built:
        raise ModelError(
            f"{model.name} is not built; call it on a sample or give it an Input first"
        )
    if isinstance(model, keras.Sequential):
        copied = keras.models.clone_model(model, clone_function=copy_layer, recursive=True)
    elif is_graph(model):
        copied = keras.models.clone_model(
            model, input_tensors=new_inputs(model), clone_function=copy_layer, recursive=True
        )
    else:
        inputs = _symbolic_inputs(model, input_shape)
        if not model.built:
            model(inputs)
        copied = copy_layer(model)
        copied(inputs)
    expected, seen = ([tuple(w.shape) for w in m.weights] for m in (model, copied))
    if expected != seen:
        raise TwinError(
            f"{model.name} has weights of shapes {expected} and its copy {seen}; make every weight "
            "in __init__ or build, from what get_config returns"
        )
    copied.set_weights(model.get_weights())
    for layer in flat_layers(copied):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return copied


def copy_layer(layer: keras.Operation) -> keras.Operation:
    """Make a layer anew from its config, without weights."""
    if not isinstance(layer, keras.layers.Layer):
        # An operation of keras.ops has no state but the graphs it was called in.
        operation = copy.copy(layer)
        operation._inbound_nodes, operation._outbound_nodes = [], []
        return operation
    if isinstance(layer, keras.layers.Lambda):
        # Its config holds byte code, which safe mode rightly refuses; the function is at hand.
        return keras.layers.Lambda(
            layer.function, layer._output_shape, layer.mask, layer.arguments, name=layer.name
        )
    try:
        copied = type(layer).from_config(layer.get_config())
    except Exception as error:
        raise TwinError(
            f"{layer.name} ({type(layer).__name__}) cannot be rebuilt from its config: "
            f"{one_line(error)}; check its get_config"
        ) from error
    # Layers without a get_config of their own forget their names.
    copied.name = layer.name
    copied.trainable = layer.trainable
    return copied


def _symbolic_inputs(model: keras.Model, input_shape: Any) -> Any:
    if input_shape is not None:
        return _inputs_of(input_shape)
    built_with = (model.get_build_config() or {}).get("input_shape")
    if built_with is None:
        raise ModelError(
            f"{model.name} is a subclassed model that was never called; give input_shape, the "
            "shape of one sample"
        )
    return _inputs_of(built_with, batched=True)


def _inputs_of(shapes: Any, batched: bool = False) -> Any:
    if isinstance(shapes, dict):
        return {name: _inputs_of(shape, batched) for name, shape in shapes.items()}
    if any(isinstance(item, (tuple, list)) for item in shapes):
        return [_inputs_of(shape, batched) for shape in shapes]
    return keras.Input(tuple(shapes[1:] if batched else shapes))


def sample_inputs(model: keras.Model) -> list[np.ndarray]:
    """Draw a random batch for each input of a graph: indices where they are looked up.

    Args:
        model: a Functional Keras 3 model.
    """
    generator = np.random.default_rng(0)
    limits = [
        limit
        for layer in flat_layers(model)
        for attribute in ("input_dim", "num_tokens")
        if isinstance(limit := getattr(layer, attribute, None), int)
    ]
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
                f"input {tensor.name} has dtype {tensor.dtype}; expected numbers, split the "
                "preprocessing of text off"
            )
        batches.append(values.astype(tensor.dtype))
    return batches


def _is_looked_up(model: keras.Model, tensor: Any) -> bool:
    """Whether an input goes into a layer that looks numbers up, or into a model with one."""
    lookups = (keras.layers.Embedding, keras.layers.CategoryEncoding)
    for layer in model.layers:
        inputs = [t for node in producers(layer) for t in node.input_tensors]
        if any(t is tensor for t in inputs) and any(
            isinstance(inner, lookups) for inner in flat_layers(layer)
        ):
            return True
    return False
