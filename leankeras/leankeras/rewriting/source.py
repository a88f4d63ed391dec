"""A draft as Python that somebody could have written: a Keras layer, and a ``port(old, new)``."""

import re
from collections.abc import Sequence
from typing import Any

import keras

from leankeras.equivalence import flat_shapes
from leankeras.rewriting.call_text import CallText
from leankeras.rewriting.compilation import Compiled
from leankeras.rewriting.constant_text import packed
from leankeras.rewriting.drafts import Draft
from leankeras.rewriting.layout_of_text import WIDTH, wrap
from leankeras.rewriting.port_text import PortText
from leankeras.rewriting.program import WeightSpec
from leankeras.rewriting.report import steps_in_words
from leankeras.rewriting.stock import Stock


def print_source(draft: Draft, layer: keras.Layer, input_shape: Any) -> str:
    """A module that holds the new layer and carries the weights over; it runs by itself.

    Args:
        draft: what is printed.
        layer: the old layer.
        input_shape: the shape of one sample, nested as the layer takes its inputs.
    """
    steps, name = steps_in_words(draft, layer), type(layer).__name__
    if isinstance(draft.made, Stock):
        lines = _stock_lines(draft.made, layer, name, steps)
    else:
        lines = _program_lines(draft.made, layer, name, steps, input_shape)
    return "\n".join(lines) + "\n"


def _stock_lines(stock: Stock, layer: keras.Layer, name: str, steps: Sequence[str]) -> list[str]:
    text = PortText(layer)
    arguments = ", ".join(f"{key}={_literal(value)}" for key, value in stock.arguments.items())
    port: list[str] = []
    for target, node in stock.weights:
        port += wrap(f"new.{target}.assign({text(node)})", "    ")
    return [
        *_docstring(f"{name} as one of Keras's own layers.", steps),
        "",
        "import keras",
        *(["import numpy as np"] if any("np." in line for line in port) else []),
        "",
        "",
        "def make():",
        f'    """A layer that computes what {name} computes."""',
        *wrap(f"return keras.layers.{stock.kind}({arguments})", "    "),
        "",
        "",
        "def port(old, new):",
        f'    """Carry the weights over from a {name} to a built layer."""',
        *port,
    ]


def _program_lines(
    made: Compiled, layer: keras.Layer, name: str, steps: Sequence[str], input_shape: Any
) -> list[str]:
    given, first_lines = _inputs(input_shape)
    call = CallText(made, given)
    body = call.lines()
    text = PortText(layer)
    port: list[str] = []
    for target, weight in made.weights.items():
        port += wrap(f"new.{target}.assign({text(weight.node, weight.shape)})", "    ")
    uses_numpy = call.tables or any("np." in line for line in port)
    tables = [line for table in call.tables.items() for line in ("", *packed(*table))]
    options = "" if layer.compute_dtype == "float32" else "autocast=False, "
    return [
        *_docstring(f"{name} with what its loops repeat done at once.", steps),
        *(["", "import base64", "import zlib"] if tables else []),
        "",
        "import keras",
        *(["import numpy as np"] if uses_numpy else []),
        "import tensorflow as tf",
        *tables,
        "",
        "",
        '@keras.saving.register_keras_serializable("rewritten")',
        f"class Fast{name.lstrip('_')}(keras.Layer):",
        f'    """Computes what {name} computes."""',
        "",
        "    def __init__(self, **kwargs):",
        f"        super().__init__({options}**kwargs)",
        *(line for spec in made.specs for line in _weight_lines(spec)),
        "",
        f"    def call(self, {'x' if isinstance(input_shape, tuple) else 'inputs'}):",
        *first_lines,
        *body,
        "",
        "",
        "def port(old, new):",
        f'    """Carry the weights over from a {name}."""',
        *port,
    ]


def _inputs(input_shape: Any) -> tuple[list[str], list[str]]:
    """The names of the inputs, and the lines that take them out of what is given."""
    if isinstance(input_shape, tuple):
        return ["x"], []
    if isinstance(input_shape, dict):
        names = {key: re.sub(r"\W", "_", key) for key in sorted(input_shape)}
        lines = [f'        {name} = inputs["{key}"]' for key, name in names.items()]
        return list(names.values()), lines
    names = [f"x_{number + 1}" for number in range(len(flat_shapes(input_shape)))]
    return names, [f"        {', '.join(names)} = inputs"]


def _weight_lines(spec: WeightSpec) -> list[str]:
    given = [f'name="{spec.name}"', f"shape={spec.shape}"]
    if len(spec.shape) < 2:
        given.append('initializer="zeros"')
    if spec.dtype != "float32":
        given.append(f'dtype="{spec.dtype}"')
    if not spec.trainable:
        given.append("trainable=False")
    return wrap(f"self.{spec.name} = self.add_weight({', '.join(given)})", " " * 8)


def _docstring(title: str, steps: Sequence[str]) -> list[str]:
    if not steps:
        return [f'"""{title}"""']
    lines = [f'"""{title}', ""]
    for step in steps:
        text = step.replace("\\", "\\\\").replace('"""', "'''")
        lines += _filled(f"- {text}")
    return [*lines, '"""']


def _filled(text: str) -> list[str]:
    """A text on lines that are not too long; those after the first are indented."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if len(joined) > WIDTH:
            lines.append(f"  {word}"[:WIDTH])
        else:
            lines[-1] = joined
    return lines


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
