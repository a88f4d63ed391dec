"""Keras 3 models as graphs: copied, walked node by node, nested models written out."""

from collections.abc import Callable
from typing import Any

import keras
from keras import tree

# Keras has no public way to run a graph on something else than its own tensors.
from keras.src.models.functional import Functional

from kopt.errors import ModelError, TwinError


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
    if is_graph(model):
        copy = keras.models.clone_model(model, clone_function=copy_layer, recursive=True)
    else:
        inputs = _symbolic_inputs(model, input_shape)
        if not model.built:
            model(inputs)
        copy = copy_layer(model)
        copy(inputs)
    shapes, copied = ([tuple(weight.shape) for weight in m.weights] for m in (model, copy))
    if shapes != copied:
        raise TwinError(
            f"{model.name} has weights of shapes {shapes} and its copy {copied}; make every weight "
            "in __init__ or build, from what get_config returns"
        )
    copy.set_weights(model.get_weights())
    for layer in copy._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return copy


def copy_layer(layer: keras.Operation) -> keras.Operation:
    """Make a layer anew from its config, without weights; operations have no state to copy."""
    if not isinstance(layer, keras.layers.Layer):
        return layer
    if isinstance(layer, keras.layers.Lambda):
        # Its config holds byte code, which safe mode rightly refuses; the function is at hand.
        return keras.layers.Lambda(
            layer.function, layer._output_shape, layer.mask, layer.arguments, name=layer.name
        )
    try:
        copy = type(layer).from_config(layer.get_config())
    except Exception as error:
        raise TwinError(
            f"{layer.name} ({type(layer).__name__}) cannot be rebuilt from its config: "
            f"{' '.join(str(error).split())[:160]}; check its get_config"
        ) from error
    # Layers without a get_config of their own forget their names.
    copy.name = layer.name
    copy.trainable = layer.trainable
    return copy


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
