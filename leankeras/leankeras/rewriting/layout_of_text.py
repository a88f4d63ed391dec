"""Lines of Python no longer than a hundred characters."""

import re

WIDTH = 100
OPENING, CLOSING = "([{", ")]}"
SIGNS = {"+": "+", "-": "+", "*": "*", "/": "*"}


def is_enclosed(text: str) -> bool:
    """Whether the first character is a parenthesis that the last one closes."""
    if not text.startswith("("):
        return False
    depth = 0
    for place, each in enumerate(text):
        depth += (each in OPENING) - (each in CLOSING)
        if depth == 0:
            return place == len(text) - 1
    return False


def bare(text: str) -> str:
    """An expression without the parentheses around all of it; a tuple keeps them."""
    if not is_enclosed(text):
        return text
    inner, depth = text[1:-1], 0
    for each in inner:
        depth += (each in OPENING) - (each in CLOSING)
        if each == "," and depth == 0:
            return text
    return inner


def binding(text: str) -> str:
    """What holds an expression in parentheses together: "+" for a sum, "*" for a product, or ""."""
    if not is_enclosed(text):
        return ""
    depth, between = 0, []
    for each in text[1:-1]:
        depth += (each in OPENING) - (each in CLOSING)
        if depth == 0:
            between.append(each)
    operators = re.findall(r" (\S+) ", "".join(between))
    kinds = {SIGNS.get(each, "") for each in operators}
    return "+" if kinds and kinds <= {"+", "*"} and "+" in kinds else "*" if kinds == {"*"} else ""


def wrap(line: str, indent: str) -> list[str]:
    """A line of code, over several lines if it is too long for one."""
    if len(indent) + len(line) <= WIDTH:
        return [indent + line]
    found = _longest_group(line)
    if found is None:
        return [indent + line]
    opening, closing = found
    inner, deeper = line[opening + 1 : closing], indent + "    "
    lines, current = [indent + line[: opening + 1]], ""
    for part in _parts(inner):
        joined = f"{current} {part}" if current else part
        if len(deeper) + len(joined) <= WIDTH:
            current = joined
            continue
        if current:
            lines += wrap(current, deeper)
        current = part
    return [*lines, *wrap(current, deeper), *wrap(line[closing:], indent)]


def _longest_group(text: str) -> tuple[int, int] | None:
    """The outermost brackets with the most between them."""
    groups, depth, start = [], 0, 0
    for place, each in enumerate(text):
        if each in OPENING:
            if depth == 0:
                start = place
            depth += 1
        elif each in CLOSING:
            depth -= 1
            if depth == 0 and place - start > 1:
                groups.append((start, place))
    return max(groups, key=lambda group: group[1] - group[0], default=None)


def _parts(text: str) -> list[str]:
    """What a line can be broken between: after commas, and before operators."""
    parts, depth, start = [], 0, 0
    for place, each in enumerate(text):
        depth += (each in OPENING) - (each in CLOSING)
        before_operator = text[place + 1 : place + 3] in ("+ ", "* ", "- ", "/ ")
        if depth == 0 and each == " " and (before_operator or text[place - 1] == ","):
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]
