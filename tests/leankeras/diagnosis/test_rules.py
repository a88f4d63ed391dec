from pathlib import Path

import pytest

from leankeras.diagnosis.finding import SEVERITIES
from leankeras.diagnosis.rules import RULES

PAGE = Path(__file__).parents[3] / "docs" / "diagnosis.md"


def row(name: str) -> str:
    rule = RULES[name]
    cells = [rule.severity, rule.summary, rule.example, rule.why, rule.fix]
    return " | ".join(["| `" + name + "`", *(cell.replace("|", "\\|") for cell in cells)]) + " |"


@pytest.mark.parametrize("name", RULES)
def test_the_page_has_the_rule_as_it_is_in_the_code(name):
    assert row(name) in PAGE.read_text().splitlines()
    assert RULES[name].severity in SEVERITIES


def test_the_page_has_no_other_rules():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(RULES)
