"""What the old layer calls its weights, and what the new one should call its own."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from leankeras.rewriting.node import Node, in_order

DEEPEST = 5


def weight_paths(layer: keras.Layer) -> list[str]:
    """How each variable of a layer is reached from it, such as ``heads[2].query.kernel``.

    Variables that no public attribute leads to are reached as ``variables[3]``.
    """
    found: dict[int, str] = {}
    for path, variable in _walk(layer, "", DEEPEST):
        found.setdefault(id(variable), path)
    return [
        found.get(id(variable), f"variables[{index}]")
        for index, variable in enumerate(layer.variables)
    ]


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, keras.Variable]]:
    if isinstance(value, keras.Variable):
        yield path, value
    elif depth and isinstance(value, keras.Layer):
        names = [name for name in vars(value) if not name.startswith("_")]
        for name in [*names, *(name for name in ("kernel", "bias") if name not in names)]:
            inner = getattr(value, name, None)
            yield from _walk(inner, f"{path}.{name}" if path else name, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _walk(each, f"{path}[{index}]", depth - 1)
    elif depth and isinstance(value, dict):
        for key, each in value.items():
            if isinstance(key, str):
                yield from _walk(each, f'{path}["{key}"]', depth - 1)


def new_names(
    nodes: Sequence[Node], roles: Sequence[str], paths: Sequence[str], taken: Sequence[str] = ()
) -> list[str]:
    """A name for each new weight, from those of the old weights that are in it.

    Args:
        nodes: what the new weights are made of.
        roles: what each does, where the old names say nothing: "kernel", "bias", "weight".
        paths: of :func:`weight_paths`.
        taken: names that cannot be used.
    """
    names: list[str] = []
    for node, role in zip(nodes, roles, strict=True):
        old = [
            _words(paths[each.attributes["index"]])
            for each in in_order([node])
            if each.op == "weight"
        ]
        common = [word for word in old[0] if all(word in words for words in old)] if old else []
        base = re.sub(r"\W+", "_", "_".join(common)) or role
        if base == "variables" or not base.isidentifier():
            base = role
        name, number = base, 2
        while name in (*names, *taken):
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def _words(path: str) -> list[str]:
    """The names in a path; gates that are called ``input_kernel`` give two words."""
    words = re.sub(r'\[\d+\]|["\]]', "", path)
    return [word for word in re.split(r"[._\[]", words) if word]
