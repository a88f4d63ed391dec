"""What a sweep reports while it runs, in a terminal and elsewhere."""

import io
from dataclasses import replace

import pytest

from kopt.errors import ChainError
from kopt.execution.grid import Point
from kopt.execution.progress import Progress
from kopt.execution.tree import share
from leankeras.budget import Budget
from tests.kopt.workspace.test_directory import record

POINTS = tuple(Point(f"{number}_alpha=0.{number}", {"alpha": number / 10}) for number in (1, 2, 3))
SHARED, FIRST, SECOND, THIRD = share(POINTS, {"03_prune": set(), "04_distil": {"alpha"}})
RECORD = replace(record("04_distil"), budget=Budget(size_kb=2))
SLOWER = replace(RECORD, latency={**RECORD.latency, "ratio": 0.5})
OVER_BUDGET = replace(RECORD, budget=Budget(size_kb=1), latency={**RECORD.latency, "ratio": 0.09})


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drive(stream):
    progress = Progress(3, stream)
    progress.say("3 points")
    progress.stage((0.0, {"point": SHARED.point, "stage": "03_prune"}))
    progress.segment(SHARED, RECORD, last=False)
    for segment, outcome in (
        (FIRST, SLOWER),
        (SECOND, RECORD),
        (THIRD, ChainError("04: no\nmore")),
    ):
        progress.stage((0.0, {"point": segment.point, "stage": "04_distil"}))
        progress.segment(segment, outcome, last=True)
    return progress


def test_elsewhere_there_is_a_line_for_everything_that_ends():
    stream = io.StringIO()
    drive(stream).close()
    assert stream.getvalue().splitlines() == [
        "3 points",
        "done for 3 points starting with 1_alpha=0.1: 03_prune",
        "finished: 1_alpha=0.1: 2× the speed, accuracy 80.0 %, 2 kB, budget: met",
        "finished: 2_alpha=0.2: 10× the speed, accuracy 80.0 %, 2 kB, budget: met",
        "failed: 3_alpha=0.3: 04: no",
    ]


def screen(text):
    """What a terminal shows after a text with the two movements that are used."""
    said, *moves = text.split("\x1b[")
    lines = said.split("\n")
    for up, cleared in zip(moves[::2], moves[1::2], strict=True):
        lines = lines[: -int(up.removesuffix("F")) - 1] + cleared.removeprefix("J").split("\n")
    return lines[:-1]


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("wide")
def test_in_a_terminal_the_table_stays_in_place_below_what_was_said():
    stream = Terminal()
    drive(stream)
    shown = screen(stream.getvalue())
    assert shown[:2] == ["3 points", "failed: 3_alpha=0.3: 04: no"]
    assert shown[2].startswith("done 2   failed 1   remaining 0   0:0")
    assert shown[3].rstrip() == "running 0"
    assert shown[4].startswith("best so far   2_alpha=0.2: 10×")
    assert len(shown) == 5


@pytest.mark.usefixtures("wide")
def test_what_runs_is_named_and_the_table_goes_in_the_end():
    stream = Terminal()
    progress = Progress(3, stream)
    progress.stage((0.0, {"point": "1_alpha=0.1", "stage": "03_prune"}))
    assert screen(stream.getvalue())[1] == "running 1   1_alpha=0.1 (03_prune)"
    progress.timing("2_alpha=0.2")
    assert screen(stream.getvalue())[1] == "running 1   2_alpha=0.2 (timing)"
    progress.close()
    assert screen(stream.getvalue()) == []


@pytest.mark.usefixtures("wide")
def test_a_point_within_its_budget_is_better_than_a_faster_one_that_is_not():
    stream = Terminal()
    progress = Progress(3, stream)
    progress.segment(FIRST, OVER_BUDGET, last=True)
    progress.segment(SECOND, RECORD, last=True)
    assert screen(stream.getvalue())[2].startswith("best so far   2_alpha=0.2")


def test_lines_are_cut_to_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    Progress(3, stream).stage((0.0, {"point": "x" * 200, "stage": "03_prune"}))
    assert max(map(len, screen(stream.getvalue()))) < 30
