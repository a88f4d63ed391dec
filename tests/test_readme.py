"""README.zh.md gives the same commands, figures and links as README.md."""

import re
from collections import Counter

import pytest

from kopt.project import ROOT

BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)]+)\)")
NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:[.,]\d+)*", re.ASCII)

ENGLISH, CHINESE = "README.md", "README.zh.md"


def read(name):
    return (ROOT / name).read_text()


def found(pattern, name):
    """How often the text outside code blocks has each match."""
    text = BLOCK.sub("", read(name))
    return Counter(pattern.findall(text if pattern is LINK else LINK.sub("]", text)))


def test_the_code_blocks_are_the_same():
    blocks = BLOCK.findall(read(ENGLISH))
    assert blocks
    assert BLOCK.findall(read(CHINESE)) == blocks


def test_the_names_and_commands_in_the_text_are_the_same():
    assert found(CODE, CHINESE) == found(CODE, ENGLISH)


def test_the_figures_are_the_same():
    assert found(NUMBER, CHINESE) == found(NUMBER, ENGLISH)


def test_the_two_link_to_each_other_and_otherwise_to_the_same():
    assert found(LINK, CHINESE) - Counter([ENGLISH]) == found(LINK, ENGLISH) - Counter([CHINESE])
    for name, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        assert f"]({other})" in read(name).partition("\n\n")[2].partition("\n")[0]


@pytest.mark.parametrize("name", [ENGLISH, CHINESE])
def test_every_link_leads_to_a_file(name):
    for target in found(LINK, name):
        assert (ROOT / target).exists(), target
