"""A draft as Python that somebody could have written: a Keras layer, and a ``port(old, new)``."""

import re
from collections.abc import Sequence

from leankeras.equivalence import Callee, flat_shapes, input_names
from leankeras.rewriting.call_text import CallText
from leankeras.rewriting.compilation import Compiled
from leankeras.rewriting.constant_text import packed
from leankeras.rewriting.drafts import Draft
from leankeras.rewriting.layout_of_text import WIDTH, wrap
from leankeras.rewriting.port_text import PortText
from leankeras.rewriting.program import PASSED_ON, REJECTED, WeightSpec
from leankeras.rewriting.report import steps_in_words
from leankeras.rewriting.stock import Stock
from leankeras.rewriting.value_names import RESERVED

NO_MASK = [
    "        if any(each is not None for each in keras.tree.flatten([mask])):",
    '            raise ValueError("made for inputs without a Keras mask")',
]


def print_source(draft: Draft, callee: Callee) -> str:
    """A module that holds the new layer and carries the weights over; it runs by itself.

    Args:
        draft: what is printed.
        callee: the old layer, and how it takes its inputs.
    """
    steps, name = steps_in_words(draft, callee.layer), type(callee.layer).__name__
    if isinstance(draft.made, Stock):
        lines = _stock_lines(draft.made, callee, name, steps)
    else:
        lines = _program_lines(draft.made, callee, name, steps)
    return "\n".join(lines) + "\n"


def _stock_lines(stock: Stock, callee: Callee, name: str, steps: Sequence[str]) -> list[str]:
    text = PortText(callee.layer)
    port: list[str] = []
    for target, node in stock.weights:
        port += wrap(f"new.{target}.assign({text(node)})", "    ")
    return [
        *_docstring(f"{name} as one of Keras's own layers.", steps, callee),
        "",
        "import keras",
        *(["import numpy as np"] if any("np." in line for line in port) else []),
        "",
        "",
        "def make():",
        f'    """A layer that computes what {name} computes."""',
        *(line for text in stock.text() for line in wrap(text, "    ")),
        "",
        "",
        "def port(old, new):",
        f'    """{_ported(name, port)}"""',
        *port,
    ]


def _program_lines(made: Compiled, callee: Callee, name: str, steps: Sequence[str]) -> list[str]:
    layer = callee.layer
    arguments, given, first_lines = _inputs(callee)
    if made.masks == REJECTED:
        arguments = [*arguments, "mask=None"]
        first_lines = [*NO_MASK, *first_lines]
    call = CallText(made, given)
    body = call.lines()
    text = PortText(layer)
    port: list[str] = []
    for target, weight in made.weights.items():
        port += wrap(f"new.{target}.assign({text(weight.node, weight.shape)})", "    ")
    uses_numpy = call.tables or any("np." in line for line in port)
    tables = [line for table in call.tables.items() for line in ("", *packed(*table))]
    options = "" if layer.compute_dtype == "float32" else "autocast=False, "
    attributes = ["        self.supports_masking = True"] if made.masks == PASSED_ON else []
    attributes += [line for spec in made.specs for line in _weight_lines(spec)]
    constructor = [
        "    def __init__(self, **kwargs):",
        f"        super().__init__({options}**kwargs)",
        *attributes,
        "",
    ]
    return [
        *_docstring(f"{name} with what its loops repeat done at once.", steps, callee),
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
        *(constructor if attributes or options else []),
        f"    def call(self, {', '.join(arguments)}):",
        *first_lines,
        *body,
        "",
        "",
        "def port(old, new):",
        f'    """{_ported(name, port)}"""',
        *port,
    ]


def _inputs(callee: Callee) -> tuple[list[str], list[str], list[str]]:
    """The arguments of call, the names of the inputs, and lines that take them out of the former.

    A layer that takes each input as an argument of its own is printed as one.
    """
    shape = callee.input_shape
    if isinstance(shape, tuple):
        return ["x"], ["x"], []
    if isinstance(shape, dict):
        names = {key: re.sub(r"\W", "_", key) for key in sorted(shape)}
        if callee.spread:
            return list(names.values()), list(names.values()), []
        lines = [f'        {name} = inputs["{key}"]' for key, name in names.items()]
        return ["inputs"], list(names.values()), lines
    if callee.spread:
        names = callee.argument_names()[: len(shape)]
        return names, names, []
    names = input_names(callee, len(flat_shapes(shape)))  # as the old layer unpacks them
    usable = len(set(names) - {*RESERVED}) == len(names) and all(map(str.isidentifier, names))
    if not usable:
        names = [f"x_{number + 1}" for number in range(len(names))]
    return ["inputs"], names, [f"        {', '.join(names)} = inputs"]


def _ported(name: str, lines: Sequence[str]) -> str:
    """What port does, in a sentence."""
    if not lines:
        return f"{name} has no weights to carry over."
    return f"Carry the weights of {name} over to this layer, once it is built."


def _weight_lines(spec: WeightSpec) -> list[str]:
    given = [f'name="{spec.name}"', f"shape={spec.shape}"]
    if len(spec.shape) < 2:
        given.append('initializer="zeros"')
    if spec.dtype != "float32":
        given.append(f'dtype="{spec.dtype}"')
    if not spec.trainable:
        given.append("trainable=False")
    return wrap(f"self.{spec.name} = self.add_weight({', '.join(given)})", " " * 8)


def _docstring(title: str, steps: Sequence[str], callee: Callee) -> list[str]:
    shape = f"Samples have the shape {callee.input_shape}, without the batch."
    lines = [f'"""{title}', "", *_filled(shape, ""), *([""] if steps else [])]
    for step in steps:
        text = step.replace("\\", "\\\\").replace('"""', "'''")
        lines += _filled(f"- {text}", "  ")
    return [*lines, '"""']


def _filled(text: str, indent: str) -> list[str]:
    """A text on lines that are not too long; those after the first are indented."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if len(joined) > WIDTH:
            lines.append(f"{indent}{word}"[:WIDTH])
        else:
            lines[-1] = joined
    return lines
