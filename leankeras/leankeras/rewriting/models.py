"""The public call: one layer rewritten, or every layer of a model that can be."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from leankeras.copying import copy_layer
from leankeras.equivalence import check_equivalence
from leankeras.errors import EquivalenceError, RewriteError
from leankeras.graph import is_graph, is_of_keras, mask_of, producers
from leankeras.rewriting.joined_source import join_sources
from leankeras.rewriting.program import Program
from leankeras.rewriting.rewriting import Known, Measure, Rewriting, renewed, rewrite_layer


def rewrite(layer: keras.Layer, input_shape: Any = None, for_inference: bool = False) -> Rewriting:
    """Find what a layer's loops repeat, do it at once, and prove that nothing else has changed.

    The layer is traced and what its loops repeat is merged, in several ways. Each way is converted
    to LiteRT and timed beside the layer as it is; the fastest one that
    :func:`leankeras.check_equivalence` finds equivalent is returned. It trains what the old layer
    trained: every weight of it is a rearrangement of old weights.

    Args:
        layer: a layer of your own, built or not, or a Functional or Sequential model, of which
            every custom layer is rewritten that can be, also in models inside it.
        input_shape: the shape of one sample without the batch, such as ``(64, 32)``; a list or a
            dict of shapes for several inputs. Not needed for a layer that has been called.
        for_inference: whether only inference has to be the same. A layer with dropout, batch
            statistics, a loss of its own, a regularizer or a constraint can be rewritten this way
            only; and whatever is computed of weights alone is computed once, by ``port``.

    Returns:
        The new layer with its weights, its Python source, ``port(old, new)``, what was merged, and
        the proof. It prints itself.

    Raises:
        RewriteError: what stands in the way, with the line of the layer's source; or that there is
            nothing to gain.

    Example:
        >>> found = leankeras.rewrite(CustomConv(64, 5), (128, 6))
        >>> found.layer, found.steps
        >>> print(found.source)
    """
    if isinstance(layer, keras.Layer) and is_graph(layer):
        return rewrite_model(layer, for_inference)
    return rewrite_layer(layer, input_shape, for_inference)


def rewrite_model(
    model: keras.Model, for_inference: bool = False, measure: Measure | None = None
) -> Rewriting:
    """A copy of a model in which every custom layer that can be is rewritten.

    Layers of models inside the model count too, and the layer of a ``TimeDistributed``. Of layers
    that compute the same with other weights, one is searched.

    Args:
        model: built; it is left as it is.
        for_inference, measure: as of :func:`.rewriting.rewrite_layer`.
    """
    custom = list(_custom_layers(model))
    if not custom:
        raise RewriteError(f"{model.name}: nothing to gain; all of its layers are Keras's own")
    known = Known()
    found: dict[str, Rewriting] = {}
    refused: list[str] = []
    for path, layer in custom:
        try:
            masked = _is_masked(layer)
            shape, dtypes = _inputs(layer)
            made = rewrite_layer(
                layer, shape, for_inference, measure, masked=masked, dtypes=dtypes, known=known
            )
            if made.without_masks and masked:
                raise RewriteError(f"{path} is given a Keras mask in {model.name}, and uses it")
            found[path] = made
        except RewriteError as error:
            refused.append(str(error))
    if not found:
        raise RewriteError("; ".join(refused))

    def port(old: keras.Model, new: keras.Model) -> None:
        for path, before, after in _pairs(old, new, found):
            if path in found:
                found[path].port(before, after)
            else:
                after.set_weights(before.get_weights())
                if isinstance(after, keras.layers.Normalization):
                    # It computes with these, not with its weights, which set them when loaded.
                    after.mean, after.variance = before.mean, before.variance

    copy = _Copies(found).copy(model)
    port(model, copy)
    try:
        proof = check_equivalence(model, copy, _shapes(model), port)
    except EquivalenceError as error:
        raise RewriteError(f"{model.name} cannot be proved: {error}") from error
    # Each new layer is proved by itself; whether inputs of the model test its other layers does not
    # matter here.
    if proof.verdict == "not equivalent" and not for_inference:
        raise RewriteError(f"{model.name} cannot be proved: {proof}")
    parts = list(found.values())
    return Rewriting(
        layer=copy,
        source=join_sources({name: part.source for name, part in found.items()}),
        port=port,
        steps=tuple(
            [f"{name}: {step}" for name, part in found.items() for step in part.steps]
            + [f"left as it is: {reason}" for reason in refused]
        ),
        equivalence=max((part.equivalence for part in parts), key=lambda each: each.max_abs_diff),
        nodes=tuple(int(n) for n in np.sum([part.nodes for part in parts], axis=0)),
        for_inference=for_inference,
    )


def _shapes(model: keras.Model) -> Any:
    """The shape of one sample of a model, a list or a dict of them as the model takes it."""
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if not isinstance(model, keras.Sequential) and isinstance(model.input, dict):
        return dict(zip(sorted(model.input), shapes, strict=True))
    return shapes[0] if len(shapes) == 1 else shapes


def _inside(layer: keras.Layer) -> list[keras.Layer]:
    """The layers of a model, or the one in a wrapper, that are rewritten one by one."""
    if is_graph(layer):
        return layer.layers
    return [layer.layer] if isinstance(layer, keras.layers.TimeDistributed) else []


def _custom_layers(layer: keras.Layer, path: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layers in a model that are not Keras's own, each once, with where they are."""
    seen: set[int] = set()
    for inner in _inside(layer):
        where = f"{path}/{inner.name}" if path else inner.name
        if _inside(inner):
            found = list(_custom_layers(inner, where))
        else:
            custom = not (is_of_keras(inner) or isinstance(inner, Program))
            found = [(where, inner)] if custom else []
        yield from (each for each in found if id(each[1]) not in seen)
        seen |= {id(custom) for _, custom in found}


def _pairs(
    old: keras.Layer, new: keras.Layer, found: Mapping[str, Rewriting], path: str = ""
) -> Iterator[tuple[str, keras.Layer, keras.Layer]]:
    """Each layer with weights and the one in its place; of a rewritten one not what is in it."""
    for before, after in zip(_inside(old), _inside(new), strict=True):
        where = f"{path}/{before.name}" if path else before.name
        if where not in found and _inside(before):
            yield from _pairs(before, after, found, where)
        elif before.weights:
            yield where, before, after


class _Copies:
    """Copies of models with other layers in them; what is shared is shared in the copy.

    Args:
        found: the new layers, by where the old ones are.
    """

    def __init__(self, found: Mapping[str, Rewriting]) -> None:
        self._found = found
        self._made: dict[int, keras.Layer] = {}

    def copy(self, layer: keras.Layer, path: str = "") -> keras.Layer:
        """A copy of a layer, without its weights."""
        if id(layer) not in self._made:
            self._made[id(layer)] = self._copied(layer, path)
        return self._made[id(layer)]

    def _copied(self, layer: keras.Layer, path: str) -> keras.Layer:
        if path in self._found:
            return renewed(self._found[path].layer, layer.name)

        def inner(each: keras.Layer) -> keras.Layer:
            return self.copy(each, f"{path}/{each.name}" if path else each.name)

        if is_graph(layer):
            return keras.models.clone_model(layer, clone_function=inner)
        if _inside(layer):
            wrapped = type(layer)(inner(layer.layer), name=layer.name, dtype=layer.dtype_policy)
            wrapped.trainable = layer.trainable
            return wrapped
        return copy_layer(layer)


def _is_masked(layer: keras.Layer) -> bool:
    """Whether a tensor with a mask reaches a layer anywhere in its model."""
    tensors = [t for node in producers(layer) for t in node.input_tensors]
    return any(mask_of(tensor) is not None for tensor in tensors)


def _inputs(layer: keras.Layer) -> tuple[Any, list[str] | None]:
    """The shape of one sample that a layer of a model is given, and the types; None if unknown.

    Raises:
        RewriteError: the model does not call it as ``rewrite`` does, with tensors in their places.
    """
    found = []
    for node in producers(layer):
        given = list(node.arguments.args)
        names = list(inspect.signature(layer.call).parameters)[len(given) :]
        masks = {id(mask_of(tensor)) for tensor in keras.tree.flatten(given)}
        for name, value in node.arguments.kwargs.items():
            if value is None or id(value) in masks:
                continue
            if name != names[0] or not all(map(keras.utils.is_keras_tensor, _flat(value))):
                raise RewriteError(
                    f"{layer.name} is called with {name}=, and rewrite knows it only as it is "
                    "called with tensors one after the other"
                )
            given.append(value)
            del names[0]
        found.append(given[0] if len(given) == 1 else given)
    shapes = [keras.tree.map_structure(lambda each: tuple(each.shape[1:]), one) for one in found]
    dtypes = [[tensor.dtype for tensor in _flat(one)] for one in found]
    if any(one != shapes[0] for one in shapes) or any(one != dtypes[0] for one in dtypes):
        raise RewriteError(f"{layer.name} is called on inputs of several shapes or types")
    if not found or any(size is None for size in keras.tree.flatten(shapes[0])):
        return None, dtypes[0] if dtypes else None
    return shapes[0], dtypes[0]


def _flat(value: Any) -> list[Any]:
    return keras.tree.flatten(value)
