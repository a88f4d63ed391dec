"""TensorFlow's operations as nodes: the table, and what is kept as it is.

A function gets the trace, the operation and its inputs. It returns a node, a tuple of nodes where
the operation has several outputs, or None where it has nothing better than to keep it as it is.
The rows are in :mod:`.importing_arithmetic` and :mod:`.importing_moves`.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from leankeras.rewriting.node import Node, is_known
from leankeras.rewriting.operations import KEPT_AS_THEY_ARE, kept_arguments

IMPORTS: dict[str, Callable[[Any, Any, list[Node]], Any]] = {}


def imports(*kinds: str) -> Callable[[Callable], Callable]:
    """Enter a function in the table."""

    def enter(function: Callable) -> Callable:
        IMPORTS.update(dict.fromkeys(kinds, function))
        return function

    return enter


def kept_as_it_is(trace: Any, operation: Any, inputs: list[Node]) -> Any:
    """An operation that is taken over without being understood."""
    if operation.type not in KEPT_AS_THEY_ARE and not all(is_known(each) for each in inputs):
        raise trace.refusal(operation, "rewrite knows nothing of this operation")
    arguments, inferred = [], set()
    for given in operation.op_def.input_arg:
        count = None
        if given.number_attr:
            count = operation.get_attr(given.number_attr)
        elif given.type_list_attr:
            count = len(operation.get_attr(given.type_list_attr))
        arguments.append((given.name, count))
        inferred |= {given.number_attr, given.type_attr, given.type_list_attr}
    settings = tuple(
        (each.name, _plain(operation.get_attr(each.name)))
        for each in operation.op_def.attr
        if each.name not in inferred
    )
    if all(is_known(each) for each in inputs):
        given = {"type": operation.type, "arguments": arguments, "settings": settings}
        call = getattr(tf.raw_ops, operation.type)
        made = call(**kept_arguments(given, [tf.constant(each.value) for each in inputs]))
        values = made if isinstance(made, tuple) else (made,)
        nodes = tuple(trace.graph.constant(value.numpy()) for value in values)
        return nodes if len(nodes) != 1 else nodes[0]
    many = len(operation.outputs) > 1
    made = [
        trace.graph.make(
            "kept",
            *inputs,
            type=operation.type,
            arguments=tuple(arguments),
            settings=settings,
            output=place if many else None,
        )
        for place in range(len(operation.outputs))
    ]
    return tuple(made) if many else made[0]


def _plain(value: Any) -> Any:
    if isinstance(value, tf.DType):
        return value.name
    if isinstance(value, bytes):
        return value.decode()
    return tuple(_plain(each) for each in value) if isinstance(value, list) else value


def axis_of(value: Any, rank: int) -> int:
    """An axis counted from the front."""
    return int(value) % rank
