"""Trials of weights: those that have no effect, and variables that Keras does not track."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from leankeras.diagnosis.flow import operations_before
from leankeras.diagnosis.source import is_library, read_class
from leankeras.diagnosis.steps import Place
from leankeras.diagnosis.syntax import assigned
from leankeras.diagnosis.trial import Trial
from leankeras.equivalence import kept
from leankeras.graph import flat_layers


def try_weights(trial: Trial) -> None:
    """Find trainable weights that no output and no loss depends on."""
    weights = trial.layer.trainable_weights
    with _put_back(trial):
        used = _with_gradient(trial, [weight.value for weight in weights])
    idle: dict[type, dict[str, str]] = {}
    for weight, has_gradient in zip(weights, used, strict=True):
        if not has_gradient and not _is_read(trial.graph, weight.value):
            owner, attribute, name = _owner(trial.layer, weight)
            idle.setdefault(type(owner), {})[name] = attribute
    for cls, names in idle.items():
        places = _made_at(cls, set(names.values()))
        trial.record("unused-weight", ", ".join(names), places=places)
    if not idle:
        trial.record("unused-weight", None)


def try_variables(trial: Trial) -> None:
    """Find out which variables outside ``layer.weights`` are more than constants.

    A constant that each new layer recreates loses nothing. A variable is lost if a call changes
    it, or if it was meant to be learnt: trainable, with a single initial value.
    """
    with _put_back(trial) as outside:
        used = _with_gradient(trial, [variable for _, variable, _ in outside])
        for (name, variable, value), has_gradient in zip(outside, used, strict=True):
            changed = not np.array_equal(variable.numpy(), value)
            constant = value.size > 1 and (value != value.flat[0]).any()
            if changed or (variable.trainable and has_gradient and not constant):
                trial.lost_variables.add(f"self.{name}")


@contextmanager
def _put_back(trial: Trial) -> Iterator[list[tuple[str, tf.Variable, np.ndarray]]]:
    """The variables outside ``layer.weights``, by attribute; they are restored at the end."""
    tracked = {id(weight.value) for weight in trial.layer.variables}
    outside = [
        (name, variable, variable.numpy())
        for layer in flat_layers(trial.layer)
        if not is_library(type(layer))
        for name, variable in _variables(layer)
        if id(variable) not in tracked
    ]
    try:
        yield outside
    finally:
        for _, variable, value in outside:
            variable.assign(value)


def _with_gradient(trial: Trial, sources: list[tf.Variable]) -> list[bool]:
    """Whether a gradient of the outputs or the layer's own losses reaches each in training."""
    try:
        with kept(trial.layer), tf.GradientTape() as tape:
            tape.watch([source for source in sources if source.dtype.is_floating])
            outputs = trial.inputs.call(trial.layer, trial.several_samples(), training=True)
            parts = [*_real(outputs), *trial.layer.losses]
            loss = sum(map(tf.reduce_sum, parts), tf.constant(0.0))
        return [one is not None for one in tape.gradient(loss, sources)]
    except LookupError:  # an operation in it has no gradient
        return [False] * len(sources)
    except (Exception, SystemExit):  # it cannot be trained, which says nothing about its weights
        return [True] * len(sources)


def _real(outputs: Any) -> Iterator[tf.Tensor]:
    for part in keras.tree.flatten(outputs):
        if part.dtype.is_floating:
            yield tf.cast(part, "float32")
        elif part.dtype.is_complex:
            yield tf.cast(tf.abs(part), "float32")


def _is_read(graph: tf.Graph, variable: tf.Variable) -> bool:
    """Whether an output of a graph depends on a variable in any way."""
    handles = [inside.op.name for outside, inside in graph.captures if outside is variable.handle]
    return bool({op.name for op in operations_before(graph.outputs)} & set(handles))


def _owner(layer: keras.Layer, weight: keras.Variable) -> tuple[keras.Layer, str, str]:
    """The user's layer that holds a weight, the attribute it is in, and the weight's name."""
    for part in flat_layers(layer):
        for attribute, value in own_attributes(part) if not is_library(type(part)) else ():
            for held in _held(value):
                if held is weight:
                    return part, attribute, attribute
                if isinstance(held, keras.Layer) and any(w is weight for w in held.weights):
                    return part, attribute, f"{attribute} ({held.name}/{weight.name})"
    return layer, "", weight.path


def _variables(layer: keras.Layer) -> Iterator[tuple[str, tf.Variable]]:
    for name, value in own_attributes(layer):
        for held in _held(value):
            if isinstance(held, tf.Variable):
                yield name, held


def own_attributes(layer: keras.Layer) -> Iterator[tuple[str, Any]]:
    """The attributes of a layer that are not Keras's or TensorFlow's own."""
    theirs = vars(keras.Layer())
    for name, value in vars(layer).items():
        if name not in theirs and not name.startswith("_self_"):
            yield name, value


def _held(value: Any) -> Iterator[Any]:
    """The values an attribute holds: itself, or the items of its list or dict."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _held(part)
    else:
        yield value


def _made_at(cls: type, names: set[str]) -> tuple[Place, ...]:
    """The first line of a class that creates one of these attributes, if it can be read."""
    if is_library(cls):
        return ()
    places = [
        (method.source.path, statement.lineno)
        for method in read_class(cls).reached("__init__", "build")
        for statement in ast.walk(method.node)
        if names & {name for name, _ in assigned(statement)}
    ]
    return tuple(places[:1])
