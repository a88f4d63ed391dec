"""A draft as Python that somebody could have written: a Keras layer, and a ``port(old, new)``."""

import base64
import re
import zlib
from collections import Counter
from typing import Any

import keras
import numpy as np

from leankeras.equivalence import flat_shapes
from leankeras.rewriting.compilation import KERNELS, Compiled
from leankeras.rewriting.drafts import Draft
from leankeras.rewriting.layout_of_text import WIDTH, bare, wrap
from leankeras.rewriting.operations import OPERATIONS, Batch
from leankeras.rewriting.port_text import PortText
from leankeras.rewriting.program import Reference, Statement
from leankeras.rewriting.report import steps_in_words
from leankeras.rewriting.rolling import Repetition, find_repetition
from leankeras.rewriting.stock import Stock

TOKEN = re.compile(r"<[vsl]\d+>")  # a value, a state or a list of a loop, not named yet
ROLE = re.compile(r"_?(kernels?|bias(es)?|weights?)(_\d+)?$")
LONGEST_INLINED = 72
MOST_WRITTEN = 16
VALUE_NAMES = {
    "product": "product", "convolution": "filtered", "depthwise": "filtered", "softmax": "shares",
    "slice": "part", "pick": "part", "item": "part", "concatenate": "joined", "stack": "stacked",
    "reshape": "reshaped", "transpose": "transposed", "gather": "gathered", "split": "parts",
    "unstack": "steps", "cumsum": "running", "argmax": "best", "cast": "cast", "pool": "pooled",
    "broadcast": "start", "kept": "found", "leaky_relu": "active",
    "Sum": "total", "Mean": "mean", "Max": "highest", "Min": "lowest", "Prod": "multiplied",
    "AddV2": "total", "Mul": "scaled", "Sub": "difference", "RealDiv": "ratio",
    "Sigmoid": "gate", "Tanh": "squashed", "Relu": "active", "Exp": "exponent",
    "Maximum": "larger", "Minimum": "smaller", "Square": "square", "Sqrt": "root",
}  # fmt: skip


def print_source(draft: Draft, layer: keras.Layer, input_shape: Any) -> str:
    """A module that holds the new layer and carries the weights over; it runs by itself.

    Args:
        draft: what is printed.
        layer: the old layer.
        input_shape: the shape of one sample, nested as the layer takes its inputs.
    """
    steps = steps_in_words(draft, layer)
    title = type(layer).__name__
    if isinstance(draft.made, Stock):
        return _stock_module(draft.made, layer, title, steps)
    return _ProgramText(draft.made, layer, input_shape).module(title, steps)


def _doc(text: str, lines: tuple[str, ...], indent: str) -> list[str]:
    out = [f'{indent}"""{text}']
    if lines:
        out.append("")
        for line in lines:
            line = line.replace("\\", "\\\\").replace('"""', "'''")
            out += [f"{indent}{part}" for part in _filled(f"- {line}", WIDTH - len(indent))]
        out.append(f'{indent}"""')
    else:
        out[-1] += '"""'
    return out


def _filled(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("  " + word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return [line[:width] for line in lines]


def _stock_module(stock: Stock, layer: keras.Layer, title: str, steps: tuple[str, ...]) -> str:
    text = PortText(layer)
    arguments = ", ".join(f"{name}={_literal(value)}" for name, value in stock.arguments.items())
    port: list[str] = []
    for name, node in stock.weights:
        port += wrap(f"new.{name}.assign({text(node)})", "    ")
    lines = _doc(f"{title} as one of Keras's own layers.", steps, "")
    lines += ["", "import keras"]
    if any("np." in line for line in port):
        lines.append("import numpy as np")
    lines += ["", "", "def make():"]
    lines += [f'    """A layer that computes what {title} computes."""']
    lines += wrap(f"return keras.layers.{stock.kind}({arguments})", "    ")
    lines += ["", "", "def port(old, new):"]
    lines += [f'    """Carry the weights over from a {title} to a built layer."""']
    return "\n".join([*lines, *port]) + "\n"


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


class _ProgramText:
    """Writes one program."""

    def __init__(self, made: Compiled, layer: keras.Layer, input_shape: Any) -> None:
        self.made = made
        self.layer = layer
        self.input_shape = input_shape
        self.constants: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.inputs = self._input_names()
        self.counts.update(self.inputs)

    def _input_names(self) -> list[str]:
        if isinstance(self.input_shape, tuple):
            return ["x"]
        if isinstance(self.input_shape, dict):
            return [re.sub(r"\W", "_", name) for name in sorted(self.input_shape)]
        count = len(flat_shapes(self.input_shape))
        return [f"x_{number + 1}" for number in range(count)]

    def module(self, title: str, steps: tuple[str, ...]) -> str:
        """The whole text."""
        body = self._call_body()
        port_text = PortText(self.layer)
        port: list[str] = []
        for name, weight in self.made.weights.items():
            port += wrap(f"new.{name}.assign({port_text(weight.node, weight.shape)})", "    ")
        uses_numpy = self.constants or any("np." in line for line in port)
        lines = _doc(f"{title} with what its loops repeat done at once.", steps, "")
        if self.constants:
            lines += ["", "import base64", "import zlib"]
        lines += ["", "import keras"]
        if uses_numpy:
            lines.append("import numpy as np")
        lines.append("import tensorflow as tf")
        for name, array in self.constants.items():
            lines += ["", *_packed(name, array)]
        lines += ["", "", '@keras.saving.register_keras_serializable("rewritten")']
        lines += [f"class Fast{title.lstrip('_')}(keras.Layer):"]
        lines += [f'    """Computes what {title} computes."""', ""]
        lines += ["    def __init__(self, **kwargs):"]
        more = "" if self.layer.compute_dtype == "float32" else "autocast=False, "
        lines += [f"        super().__init__({more}**kwargs)"]
        for spec in self.made.specs:
            given = [f'name="{spec.name}"', f"shape={spec.shape}"]
            if len(spec.shape) < 2:
                given.append('initializer="zeros"')
            if spec.dtype != "float32":
                given.append(f'dtype="{spec.dtype}"')
            if not spec.trainable:
                given.append("trainable=False")
            lines += wrap(f"self.{spec.name} = self.add_weight({', '.join(given)})", " " * 8)
        lines += ["", f"    def call(self, {self._signature()}):", *body]
        lines += ["", "", "def port(old, new):"]
        lines += [f'    """Carry the weights over from a {title}."""', *port]
        return "\n".join(lines) + "\n"

    def _signature(self) -> str:
        return "x" if isinstance(self.input_shape, tuple) else "inputs"

    # ------------------------------------------------------------------ the call

    def _call_body(self) -> list[str]:
        statements = self.made.statements
        loop = find_repetition(statements)
        lines: list[str] = []
        if isinstance(self.input_shape, dict):
            pairs = zip(self.inputs, sorted(self.input_shape), strict=True)
            lines += [f'        {name} = inputs["{key}"]' for name, key in pairs]
        elif not isinstance(self.input_shape, tuple):
            lines.append(f"        {', '.join(self.inputs)} = inputs")
        needs_batch = any(
            isinstance(size, Batch) and (each.op != "reshape" or _batches(value) > 1)
            for each in statements
            for value in each.attributes.values()
            if isinstance(value, tuple)
            for size in value
        )
        if needs_batch:
            self.counts["batch"] += 1
            lines.append(f"        batch = tf.shape({self.inputs[0]})[0]")
        if loop is None:
            result = self._result(self.made.result)
            drafts = [(f"<v{i}>", self._written(each)) for i, each in enumerate(statements)]
            lines += self._block(drafts, " " * 8, set(TOKEN.findall(result)))
        else:
            rolled, result = self._rolled(statements, loop)
            lines += rolled
        definition = f"        {result} = "
        if TOKEN.fullmatch(result) and lines[-1].startswith(definition):
            lines[-1] = f"        return {lines[-1].removeprefix(definition)}"
        else:
            lines.append(f"        return {result}")
        return [line for each in lines for line in self._named(each)]

    def _rolled(self, statements: tuple[Statement, ...], loop: Repetition) -> tuple[list[str], str]:
        """Statements before a loop, the loop, and those after it; and the result."""
        last = loop.start + (loop.turns - 1) * loop.period
        lists: set[int] = set()

        def token(index: int) -> str:
            if loop.start <= index < loop.end:
                turn, place = divmod(index - loop.start, loop.period)
                if turn == loop.turns - 1:
                    return f"<v{last + place}>"
                lists.add(place)
                return f"<l{place}>[{turn}]"
            return f"<v{index}>"

        def outside(statement: Statement) -> str:
            inputs = [self._reference(each, statement, token) for each in statement.inputs]
            return self._text(statement, self._whole_lists(inputs, loop, last, lists))

        before = [(f"<v{i}>", outside(statements[i])) for i in range(loop.start)]
        after = [(f"<v{i}>", outside(statements[i])) for i in range(loop.end, len(statements))]
        result = self._result(self.made.result, token)
        result_tokens = set(TOKEN.findall(result))
        body, carried = self._turn(statements, loop, last)
        counter_start = self._counter_start(statements, loop)
        used = {each for _, text in body + after for each in TOKEN.findall(text)} | result_tokens
        used |= {self._reference(loop.first[place], None, token) for place in carried}
        lines = self._block(before, " " * 8, used)
        for place in sorted(carried):
            first = self._reference(loop.first[place], None, token)
            lines.append(f"        <s{place}> = {first}")
        lines += [f"        <l{place}> = []" for place in sorted(lists)]
        lines.append(f"        for t in range({counter_start}, {counter_start + loop.turns}):")
        kept = {f"<v{last + place}>" for place in carried | lists}
        kept |= {each for _, text in after for each in TOKEN.findall(text)} | result_tokens
        lines += self._block(body, " " * 12, kept)
        for place in sorted(carried):
            lines.append(f"            <s{place}> = <v{last + place}>")
        for place in sorted(lists):
            lines.append(f"            <l{place}>.append(<v{last + place}>)")
        return lines + self._block(after, " " * 8, result_tokens), result

    def _turn(
        self, statements: tuple[Statement, ...], loop: Repetition, last: int
    ) -> tuple[list[tuple[str, str]], set[int]]:
        carried: set[int] = set()
        body = []
        counter_start = self._counter_start(statements, loop)
        for place in range(loop.period):
            statement = statements[loop.start + place]
            inputs = []
            for number, given in enumerate(statement.inputs):
                operand = loop.operands[place, number]
                if operand is None:
                    inputs.append(self._reference(given, statement))
                elif operand < loop.period:
                    carried.add(operand)
                    inputs.append(f"<s{operand}>")
                else:
                    inputs.append(f"<v{last + operand - loop.period}>")
            attributes = dict(statement.attributes)
            step = loop.moves.get(place)
            if step:
                offset = attributes["start"] - counter_start * step
                counter = "t" if step == 1 else f"{step} * t"
                sign = f" + {offset}" if offset > 0 else f" - {-offset}" if offset < 0 else ""
                attributes["start"] = counter + sign
            text = self._text(Statement(statement.op, statement.inputs, attributes), inputs)
            body.append((f"<v{last + place}>", text))
        return body, carried

    @staticmethod
    def _counter_start(statements: tuple[Statement, ...], loop: Repetition) -> int:
        starts = [
            statements[loop.start + place].attributes["start"]
            for place in range(loop.period)
            if loop.moves.get(place) == 1
        ]
        return starts[0] if starts else 0

    @staticmethod
    def _whole_lists(inputs: list[str], loop: Repetition, last: int, lists: set[int]) -> list[str]:
        """What all turns gave, one after the other, as the list that it is."""
        for place in range(loop.period):
            run = [f"<l{place}>[{turn}]" for turn in range(loop.turns - 1)]
            run.append(f"<v{last + place}>")
            for start in range(len(inputs) - len(run) + 1):
                if inputs[start : start + len(run)] == run:
                    inputs[start : start + len(run)] = [f"*<l{place}>"]
                    lists.add(place)
                    break
        return inputs

    # ------------------------------------------------------------------ expressions

    def _written(self, statement: Statement) -> str:
        inputs = [self._reference(each, statement) for each in statement.inputs]
        return self._text(statement, inputs)

    @staticmethod
    def _text(statement: Statement, inputs: list[str]) -> str:
        text = OPERATIONS[statement.op].text(statement.attributes, *inputs)
        return re.sub(r"\[\*(<l\d+>)\]", r"\1", text)

    def _reference(self, reference: Reference, user: Statement | None, token: Any = None) -> str:
        kind, place = reference
        if kind == "value":
            return token(place) if token else f"<v{place}>"
        if kind == "input":
            return self.inputs[place]
        if kind == "weight":  # TensorFlow makes no tensor of a list of Keras's variables
            listed = user is not None and user.op in ("concatenate", "stack")
            return f"self.{place}{'.value' if listed else ''}"
        return self._constant(self.made.constants[place], user)

    def _constant(self, array: np.ndarray, user: Statement | None) -> str:
        scalar = array.size == 1 and (
            array.shape == () or (user is not None and user.op == "broadcast")
        )
        if scalar and array.dtype.name in ("float32", "int32", "bool"):
            return _number(array.reshape(()))
        if array.size <= MOST_WRITTEN:
            return f'tf.constant({_nested(array)}, "{array.dtype}")'
        flat = array.ravel()
        steps = np.diff(flat)
        if array.ndim == 1 and array.dtype.kind == "i" and (steps == steps[0]).all() and steps[0]:
            end = flat[-1] + steps[0]
            return f'tf.range({flat[0]}, {end}, {steps[0]}, dtype="{array.dtype}")'
        affine = _affine_table(array)
        if affine:
            return affine
        name = next(
            (n for n, a in self.constants.items() if a is array), f"TABLE_{len(self.constants) + 1}"
        )
        self.constants[name] = array
        return name

    def _result(self, result: Any, token: Any = None) -> str:
        if isinstance(result, dict):
            items = (f'"{name}": {self._result(each, token)}' for name, each in result.items())
            return f"{{{', '.join(items)}}}"
        if len(result) == 2 and isinstance(result[0], str):
            return self._reference(result, None, token)
        return f"[{', '.join(self._result(each, token) for each in result)}]"

    # ------------------------------------------------------------------ lines and names

    def _block(self, drafts: list[tuple[str, str]], indent: str, kept: set[str]) -> list[str]:
        """Statements, with what is used once put where it is used."""
        texts = dict(drafts)
        users: dict[str, list[str]] = {}
        for name, text in drafts:
            for used in TOKEN.findall(text):
                users.setdefault(used, []).append(name)
        for name, _ in drafts:
            if name in kept or len(users.get(name, [])) != 1:
                continue
            (user,) = users[name]
            joined = _inlined(texts[user], name, texts[name])
            if len(joined) > LONGEST_INLINED:
                continue
            for used in TOKEN.findall(texts[name]):
                users[used] = [user if each == name else each for each in users[used]]
            texts[user] = joined
            del texts[name]
        self._choose_names(drafts, texts)
        return [f"{indent}{name} = {bare(text)}" for name, text in texts.items()]

    def _choose_names(self, drafts: list[tuple[str, str]], texts: dict[str, str]) -> None:
        for name in texts:
            index = int(name[2:-1])
            statement = self.made.statements[index]
            key = statement.attributes.get("function", statement.op)
            base = VALUE_NAMES.get(key, VALUE_NAMES.get(statement.op, key.lower()))
            of_weight = [place for kind, place in statement.inputs if kind == "weight"]
            if of_weight and (statement.op in KERNELS or key == "AddV2"):
                base = ROLE.sub("", of_weight[0]) or base
            self.names[name] = self._unused(base)

    def _unused(self, base: str) -> str:
        base = base if base.isidentifier() else "value"
        self.counts[base] += 1
        return base if self.counts[base] == 1 else f"{base}_{self.counts[base]}"

    def _named(self, line: str) -> list[str]:
        def name(match: re.Match) -> str:
            token = match.group()
            if token not in self.names:
                base = "state" if token[1] == "s" else "collected"
                self.names[token] = self._unused(base)
            return self.names[token]

        line = TOKEN.sub(name, line)
        indent = line[: len(line) - len(line.lstrip())]
        return wrap(line.lstrip(), indent)


def _affine_table(array: np.ndarray) -> str | None:
    """Rows of places that move on from row to row, round and round, in a formula."""
    if array.ndim != 2 or array.dtype.kind != "i" or min(array.shape) < 2:
        return None
    length = int(array.max()) + 1
    down, right = (int(array[place] - array[0, 0]) % length for place in ((1, 0), (0, 1)))
    rows, columns = np.arange(array.shape[0])[:, None], np.arange(array.shape[1])
    if array.min() < 0 or not np.array_equal(
        array, (down * rows + right * columns + array[0, 0]) % length
    ):
        return None
    down = down - length if down > length / 2 else down
    terms = [
        f"{factor} * {name}" if abs(factor) != 1 else f"{'-' if factor < 0 else ''}{name}"
        for factor, name in (
            (right, f"tf.range({array.shape[1]})"),
            (down, f"tf.range({array.shape[0]})[:, None]"),
        )
        if factor
    ]
    if array[0, 0]:
        terms.append(str(array[0, 0]))
    return f"({' + '.join(terms).replace('+ -', '- ')}) % {length}"


def _inlined(text: str, token: str, value: str) -> str:
    start = text.index(token)
    before, after = text[:start], text[start + len(token) :]
    alone = before.endswith(("(", "[", ", ")) and after.startswith((")", "]", ","))
    return before + (bare(value) if alone else value) + after


def _batches(value: tuple[Any, ...]) -> int:
    return sum(isinstance(each, Batch) for each in value)


def _number(value: np.ndarray) -> str:
    if value.dtype.kind == "f":
        return str(value[()]) if np.isfinite(value) else f'float("{value[()]}")'
    return repr(value.item())


def _nested(array: np.ndarray) -> str:
    if array.shape == ():
        return _number(array)
    return f"[{', '.join(_nested(each) for each in array)}]"


def _packed(name: str, array: np.ndarray) -> list[str]:
    """A large constant, compressed; what it is can be printed from the running module."""
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
    width = WIDTH - 6
    pieces = [f'    b"{data[i : i + width]}"' for i in range(0, len(data), width)]
    return [
        f"{name} = np.frombuffer(zlib.decompress(base64.b64decode(",
        *pieces,
        f')), "{array.dtype}").reshape({array.shape})',
    ]
