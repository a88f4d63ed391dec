import io

import pytest

from leankeras.budget import Budget
from leankeras.errors import ParameterError
from leankeras.runtime import evaluate
from leankeras.searching import Candidate, Clock, Settings, page_sections
from leankeras.searching.figures import figures
from leankeras.searching.progress import Progress
from tests.leankeras.searching.stubs import GOAL


def test_a_search_ends_with_a_file_its_chain_and_the_figures(session, materials):
    found, trials, _ = session
    assert Candidate.read(found.file.with_name("winner.json")) == found.chain
    data = materials.data
    accuracy = evaluate(found.file, data.x_test, data.y_test)["accuracy"]
    assert found.best.accuracy == pytest.approx(accuracy)
    assert found.table.index.tolist() == list(range(4))
    assert found.best.name in found.front.index
    within = found.front.against_default_low <= found.front.against_default
    assert within.all()
    assert found.sieves.trials.iloc[0] == 4
    assert found.missed == ""
    told = str(found)
    for part in ("that of the default chain", str(found.chain), "make it again: kopt run"):
        assert part in told
    assert {"search.csv", "front.csv", "journal.log"} <= {
        path.name for path in found.file.parent.iterdir()
    }
    assert trials.outcome(0)["lost"] == found.table.lost[0]


def test_the_page_has_every_figure_and_the_command(session):
    page = "".join(page_sections(*session))
    for part in ("History:", "The sieves", "The winner", "kopt run", "All trials"):
        assert part in page
    assert page.count("plotly-graph-div") == len(figures(session[1]))
    assert "http" not in page.replace("https://plot.ly", "")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"minutes": 0}, "minutes: saw 0"),
        ({"minutes": float("nan")}, "minutes: saw nan"),
        ({"trials": 2}, "trials: saw 2"),
        ({"modes": ()}, "modes: saw none"),
        ({"modes": ("int4",)}, "modes: saw int4"),
        ({"sampler": "grid"}, "sampler: saw 'grid'"),
        ({"goal": "best"}, "goal: saw 'best'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, told):
    with pytest.raises(ParameterError) as error:
        Settings(Budget(accuracy_loss=0.01), **settings)
    assert str(error.value).startswith(told)


def test_without_a_number_of_trials_there_are_thirty_minutes():
    budget = Budget(accuracy_loss=0.01)
    assert Settings(budget).clock.seconds == 1800
    assert Settings(budget, trials=3).clock.seconds is None
    assert Settings(budget, trials=3, minutes=2).clock.seconds == 120


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_the_best_so_far_and_why_others_were_dropped():
    figures = {"us": 5.0, "us_low": 4.5, "size_kb": 9.0, "cost": 1.0, "ratio": 0.5}
    shown, lines = Terminal(), io.StringIO()
    for stream in (shown, lines):
        progress = Progress(GOAL, Clock(600), 20, {0: {**figures, "lost": 0.01}}, stream)
        progress.trial(1, figures)
        progress.trial(1, {**figures, "dropped": "too slow"})
        progress.trial(2, {"dropped": "failed", "reason": "no memory"})
        progress.close()
    assert "trial 1: 5 µs, 9 kB, too slow" in shown.getvalue()
    assert "best      trial 0: 5 µs, 9 kB, +1.0 points lost" in shown.getvalue()
    assert "3 of 20 trials, 1 trained in full; 10 min left" in shown.getvalue()
    assert lines.getvalue().splitlines() == [
        "trial 1: 5 µs, 9 kB, too slow",
        "trial 2: failed (no memory)",
    ]


def test_a_notebook_shows_the_last_lines_and_the_status_in_one_place(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            assert raw
            shown.append(data["text/plain"])

    monkeypatch.setattr("leankeras.searching.progress._notebook_display", Handle)
    stream = io.StringIO()
    progress = Progress(GOAL, Clock(None), 20, {}, stream)
    for number in range(30):
        progress.trial(number, {"dropped": "failed", "reason": "no memory"})
    assert stream.getvalue() == ""
    assert shown[-1].splitlines()[-3:] == [
        "30 of 20 trials, 0 trained in full",
        "dropped   30 failed",
        "best      none yet",
    ]
    assert "trial 0:" not in shown[-1]
