"""The longest repetition in a list of statements, to be written as a loop.

Steps of a recurrence that could not be merged stay, one after the other. In each turn of the loop
an operand is the same as in all turns, or was computed in this turn or in the one before; places in
lists move on by the same number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from leankeras.rewriting.program import Reference, Statement

FEWEST_STATEMENTS = 30
LONGEST_TURN = 400
FEWEST_TURNS = 3


@dataclass
class Repetition:
    """A loop in a list of statements.

    Attributes:
        start: the first statement of the first turn.
        period: how many statements a turn has.
        turns: how many turns there are.
        operands: for the statement and the input of a turn, None where it is the same in all
            turns; else its place in the turn before (below the period) or in this one.
        moves: for a statement with a place, by how much it moves on in each turn.
        first: for a statement that the next turn uses, what the first turn has in its place.
    """

    start: int
    period: int
    turns: int
    operands: dict[tuple[int, int], int | None]
    moves: dict[int, int]
    first: dict[int, Reference]

    @property
    def end(self) -> int:
        """The first statement after it."""
        return self.start + self.period * self.turns


def find_repetition(statements: Sequence[Statement]) -> Repetition | None:
    """The repetition that saves the most lines; None if there is none worth a loop."""
    count = len(statements)
    if count < FEWEST_STATEMENTS:
        return None
    kinds: dict[str, int] = {}
    keys = [kinds.setdefault(_kind(each), len(kinds)) for each in statements]
    best: Repetition | None = None
    for period in range(2, min(count // FEWEST_TURNS, LONGEST_TURN)):
        place = 0
        while place < count - period:
            if keys[place] != keys[place + period]:
                place += 1
                continue
            end = place
            while end < count - period and keys[end] == keys[end + period]:
                end += 1
            if end - place >= (FEWEST_TURNS - 1) * period:
                last = min(place + period, end - (FEWEST_TURNS - 1) * period + 1)
                for start in range(place, last):
                    turns = (end - start) // period + 1
                    if best and (turns - 1) * period <= _saved(best):
                        break
                    found = _checked(statements, start, period, turns)
                    if found and (best is None or _saved(found) > _saved(best)):
                        best = found
            place = end + 1
    return best


def _saved(found: Repetition) -> int:
    return (found.turns - 1) * found.period


def _kind(statement: Statement) -> str:
    fixed = {name: value for name, value in statement.attributes.items() if name != "start"}
    return f"{statement.op} {fixed} {len(statement.inputs)}"


def _checked(
    statements: Sequence[Statement], start: int, period: int, most: int
) -> Repetition | None:
    """The repetition that begins at a statement, as long as it really is one."""
    operands: dict[tuple[int, int], int | None] = {}
    moves: dict[int, int] = {}
    first: dict[int, Reference] = {}
    turns = most
    for turn in range(1, most):
        if not _turn_fits(statements, start, period, turn, operands, moves, first):
            turns = turn
            break
    if turns < FEWEST_TURNS:
        return None
    return Repetition(start, period, turns, operands, moves, first)


def _turn_fits(
    statements: Sequence[Statement], start: int, period: int, turn: int,
    operands: dict[tuple[int, int], int | None], moves: dict[int, int],
    first: dict[int, Reference],
) -> bool:  # fmt: skip
    base = start + (turn - 1) * period
    for place in range(period):
        before, after = statements[base + place], statements[base + period + place]
        if "start" in before.attributes:
            step = after.attributes["start"] - before.attributes["start"]
            if moves.setdefault(place, step) != step:
                return False
        for number, (old, new) in enumerate(zip(before.inputs, after.inputs, strict=True)):
            target = new[1] if new[0] == "value" else -1
            if target < start:
                kind, fits = None, old == new
            else:
                kind = target - base
                fits = kind >= 0 and old == ("value", target - period)
                if turn == 1 and 0 <= kind < period:
                    early = old[0] != "value" or old[1] < start
                    fits = early and first.setdefault(kind, old) == old
            if not fits or operands.setdefault((place, number), kind) != kind:
                return False
    return True
