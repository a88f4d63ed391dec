"""The call of a printed layer: its statements, those of a recurrence as a loop.

While lines are put together, values stand in them as tokens: ``<v12>`` is what statement 12 gives,
``<s3>`` a state that a loop carries on and ``<l3>`` a list of what its turns gave.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from leankeras.rewriting.compilation import Compiled
from leankeras.rewriting.constant_text import constant_text
from leankeras.rewriting.layout_of_text import bare, binding, wrap
from leankeras.rewriting.operations import OPERATIONS, Batch
from leankeras.rewriting.program import Reference, Statement
from leankeras.rewriting.rolling import Repetition, find_repetition
from leankeras.rewriting.value_names import ValueNames

TOKEN = re.compile(r"<[vsl]\d+>")
LONGEST_INLINED = 72
OUTSIDE, INSIDE = " " * 8, " " * 12

Line = tuple[str, str]  # a token and the expression for it


class CallText:
    """Writes the call of a program.

    Args:
        made: the program.
        inputs: the names of its inputs.

    Attributes:
        tables: constants that have to be defined beside the layer, by name.
    """

    def __init__(self, made: Compiled, inputs: Sequence[str]) -> None:
        self.tables: dict[str, np.ndarray] = {}
        self._made = made
        self._inputs = list(inputs)
        self._names: dict[str, str] = {}
        self._new_names = ValueNames(inputs)

    def lines(self) -> list[str]:
        """All lines, indented, with the one that returns the result."""
        loop = find_repetition(self._made.statements)
        lines = [f"{OUTSIDE}batch = tf.shape({self._inputs[0]})[0]"] if self._asks_batch else []
        if loop is None:
            result = self._nested(self._made.result, _plain_token)
            pairs = [
                (_plain_token(place), self._expression(statement, _plain_token))
                for place, statement in enumerate(self._made.statements)
            ]
            lines += self._block(pairs, OUTSIDE, set(TOKEN.findall(result)))
        else:
            more, result = self._with_loop(_LoopText(self._made.statements, loop))
            lines += more
        definition = f"{OUTSIDE}{result} = "
        if TOKEN.fullmatch(result) and lines and lines[-1].startswith(definition):
            lines[-1] = f"{OUTSIDE}return {lines[-1].removeprefix(definition)}"
        else:
            lines.append(f"{OUTSIDE}return {result}")
        return [line for each in lines for line in self._named(each)]

    @property
    def _asks_batch(self) -> bool:
        """Whether a size has to be computed from the batch; a reshape can infer one."""
        for statement in self._made.statements:
            for value in statement.attributes.values():
                sizes = value if isinstance(value, tuple) else ()
                count = sum(isinstance(each, Batch) for each in sizes)
                if count > (statement.op == "reshape"):
                    return True
        return False

    def _with_loop(self, loop: "_LoopText") -> tuple[list[str], str]:
        """The statements before a loop, the loop and those after it; and the result."""
        statements, token = self._made.statements, loop.token

        def outside(first: int, end: int) -> list[Line]:
            return [
                (f"<v{p}>", loop.whole_lists(self._expression(statements[p], token)))
                for p in range(first, end)
            ]

        before = outside(0, loop.found.start)
        after = outside(loop.found.end, len(statements))
        result = loop.whole_lists(self._nested(self._made.result, token))
        body = [
            (loop.last(place), self._expression(*loop.statement(place)))
            for place in range(loop.found.period)
        ]
        starts = {
            f"<s{place}>": self._reference(loop.found.first[place], None, token)
            for place in sorted(loop.carried)
        }
        used = {t for _, text in body + after for t in TOKEN.findall(text)}
        used |= {*TOKEN.findall(result), *starts.values()}
        lists = sorted(loop.lists)
        lines = self._block(before, OUTSIDE, used)
        lines += [f"{OUTSIDE}{state} = {first}" for state, first in starts.items()]
        lines += [f"{OUTSIDE}<l{place}> = []" for place in lists]
        first = f"{loop.counter}, " if loop.counter else ""
        lines.append(f"{OUTSIDE}for t in range({first}{loop.counter + loop.found.turns}):")
        kept = {loop.last(place) for place in loop.carried | loop.lists}
        kept |= {t for _, text in after for t in TOKEN.findall(text)} | set(TOKEN.findall(result))
        turn = self._block(body, INSIDE, kept)
        turn += [f"{INSIDE}<l{p}>.append({loop.last(p)})" for p in lists]
        ending = self._block(after, OUTSIDE, set(TOKEN.findall(result)))
        renamed = {}
        for place in sorted(loop.carried):
            state, token = f"<s{place}>", loop.last(place)
            made = next(n for n, line in enumerate(turn) if line.lstrip().startswith(f"{token} ="))
            if any(state in line for line in turn[made + 1 :]):  # the old one is still needed
                turn.append(f"{INSIDE}{state} = {token}")
            else:
                renamed[token] = state

        def with_states(text: str) -> str:
            return TOKEN.sub(lambda match: renamed.get(match.group(), match.group()), text)

        lines += [with_states(line) for line in turn + ending]
        return lines, with_states(result)

    def _expression(self, statement: Statement, token: Callable[[Any], str]) -> str:
        inputs = [self._reference(each, statement, token) for each in statement.inputs]
        return OPERATIONS[statement.op].text(statement.attributes, *inputs)

    def _reference(
        self, reference: Reference, user: Statement | None, token: Callable[[Any], str]
    ) -> str:
        kind, place = reference
        if kind == "value":
            return token(place)
        if kind == "input":
            return self._inputs[place]
        if kind == "weight":  # TensorFlow makes no tensor of a list of Keras's variables
            listed = user is not None and user.op in ("concatenate", "stack")
            return f"self.{place}{'.value' if listed else ''}"
        array = self._made.constants[place]
        text = constant_text(array, as_number=user is not None and user.op == "broadcast")
        if text is None:
            text = f"TABLE_{place + 1}"
            self.tables[text] = array
        return text

    def _nested(self, result: Any, token: Callable[[Any], str]) -> str:
        if isinstance(result, dict):
            items = (f'"{name}": {self._nested(each, token)}' for name, each in result.items())
            return f"{{{', '.join(items)}}}"
        if len(result) == 2 and isinstance(result[0], str):
            return self._reference(result, None, token)
        return f"[{', '.join(self._nested(each, token) for each in result)}]"

    def _block(self, pairs: list[Line], indent: str, kept: set[str]) -> list[str]:
        """Statements, with what is used once put where it is used."""
        texts = dict(pairs)
        users: dict[str, list[str]] = {}
        for token, text in pairs:
            for used in TOKEN.findall(text):
                users.setdefault(used, []).append(token)
        for token, _ in pairs:
            if token in kept or len(users.get(token, [])) != 1:
                continue
            (user,) = users[token]
            joined = _inlined(texts[user], token, texts[token])
            if len(joined) > LONGEST_INLINED:
                continue
            for used in TOKEN.findall(texts[token]):
                users[used] = [user if each == token else each for each in users[used]]
            texts[user] = joined
            del texts[token]
        for token in texts:
            self._names[token] = self._new_names.of(self._made.statements[int(token[2:-1])])
        return [f"{indent}{token} = {bare(text)}" for token, text in texts.items()]

    def _named(self, line: str) -> list[str]:
        """A line with names for its tokens, on several lines if it is long."""

        def name(match: re.Match) -> str:
            token = match.group()
            if token not in self._names:
                base = "state" if token.startswith("<s") else "collected"
                self._names[token] = self._new_names.unused(base)
            return self._names[token]

        text = TOKEN.sub(name, line)
        bare_text = text.lstrip()
        return wrap(bare_text, text[: len(text) - len(bare_text)])


class _LoopText:
    """A repetition as a ``for`` loop.

    Attributes:
        counter: what the loop counts from.
        carried: the places in a turn whose values the next turn uses.
        lists: the places in a turn whose values are used after the loop, of other turns than the
            last.
    """

    def __init__(self, statements: Sequence[Statement], found: Repetition) -> None:
        self.found = found
        self.lists: set[int] = set()
        self.carried = {
            operand
            for operand in found.operands.values()
            if operand is not None and operand < found.period
        }
        self._statements = statements
        self.counter = next(
            (
                statements[found.start + place].attributes["start"]
                for place in range(found.period)
                if found.moves.get(place) == 1
            ),
            0,
        )

    def last(self, place: int) -> str:
        """What the statement at a place of a turn gives, after the loop: that of the last turn."""
        return f"<v{self.found.start + (self.found.turns - 1) * self.found.period + place}>"

    def token(self, index: int) -> str:
        """What a statement gives, seen from outside the loop."""
        if not self.found.start <= index < self.found.end:
            return f"<v{index}>"
        turn, place = divmod(index - self.found.start, self.found.period)
        if turn == self.found.turns - 1:
            return self.last(place)
        self.lists.add(place)
        return f"<l{place}>[{turn}]"

    def whole_lists(self, text: str) -> str:
        """An expression in which what all turns gave is written as the list that it is."""
        for place in sorted(self.lists):
            parts = [f"<l{place}>[{turn}]" for turn in range(self.found.turns - 1)]
            listed = ", ".join([*parts, self.last(place)])
            text = text.replace(f"[{listed}]", f"<l{place}>").replace(listed, f"*<l{place}>")
        return text

    def statement(self, place: int) -> tuple[Statement, Callable[[Any], str]]:
        """The statement at a place of a turn, and what its inputs are inside the loop."""
        given = self._statements[self.found.start + place]
        operands = [self.found.operands[place, number] for number in range(len(given.inputs))]
        inputs = tuple(
            reference if operand is None else ("value", (operand,))
            for reference, operand in zip(given.inputs, operands, strict=True)
        )
        attributes, step = dict(given.attributes), self.found.moves.get(place)
        if step:
            offset = attributes["start"] - self.counter * step
            counter = "t" if step == 1 else f"{step} * t"
            sign = f" + {offset}" if offset > 0 else f" - {-offset}" if offset < 0 else ""
            attributes["start"] = counter + sign
        return Statement(given.op, inputs, attributes), self._inside

    def _inside(self, index: Any) -> str:
        if not isinstance(index, tuple):
            return f"<v{index}>"
        (operand,) = index
        if operand < self.found.period:
            return f"<s{operand}>"
        return self.last(operand - self.found.period)


def _plain_token(index: int) -> str:
    return f"<v{index}>"


def _inlined(text: str, token: str, value: str) -> str:
    start = text.index(token)
    before, after = text[:start], text[start + len(token) :]
    alone = before.endswith(("(", "[", ", ")) and after.startswith((")", "]", ","))
    inner, product = bare(value), binding(value) == "*"
    first = before.endswith(("(", "[", ", ")) and after.startswith((" + ", " - "))
    term = before.endswith((" + ", " - ")) and after.startswith((")", "]", ",", " + ", " - "))
    if alone or (first and binding(value)) or (term and product):
        value = inner
    return before + value + after
