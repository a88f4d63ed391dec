"""Layers from public code: the diagnosis matches the counts in docs/diagnosis.md."""

import re

import pytest

from leankeras.diagnosis.diagnosis import diagnose
from tests.layers.public import PUBLIC, ROUNDS, Public
from tests.leankeras.diagnosis.test_rules import PAGE


def row(layer: Public) -> str:
    right, wrong, missed = (", ".join(sorted(names)) or "–" for names in layer.counted())
    return f"| {layer.source} | {right} | {wrong} | {missed} |"


# A third of them, which takes a minute; benchmarks/public_layers.py diagnoses all.
@pytest.mark.parametrize("layer", PUBLIC[::3], ids=lambda layer: layer.source)
def test_a_layer_of_public_code(layer):
    samples = layer.samples() if layer.samples else None
    found = diagnose(layer.make(), layer.shape, samples).findings
    assert {one.rule: one.severity for one in found} == layer.expected


def test_the_page_has_a_row_for_each_layer():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert [line for line in rows if line in {row(layer) for layer in PUBLIC}] == [
        row(layer) for layer in PUBLIC
    ]


def test_the_page_has_the_sums():
    sums = []
    for layers in ROUNDS:
        counted = [[len(names) for names in layer.counted()] for layer in layers]
        sums.append([len(layers), *(sum(column) for column in zip(*counted, strict=True))])
    rows = re.findall(r"^\| (?:at hand|round .) \|.*\|$", PAGE.read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]
    assert [[int(line[1]), *map(int, line[-3:])] for line in cells] == sums


def test_at_most_one_false_alarm_in_ten_layers_and_none_an_error():
    wrong = [(layer, rule) for layer in PUBLIC for rule in layer.counted()[1]]
    assert len(wrong) <= len(PUBLIC) / 10
    assert all(layer.expected[rule] != "error" for layer, rule in wrong)
