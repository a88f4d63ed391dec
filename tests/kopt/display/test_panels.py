import re
import subprocess
import sys
import threading
from pathlib import Path

import ipywidgets
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel

from kopt.display.panels import LatencyPanel, ParetoPanel, TradeoffPanel
from kopt.display.panels.panel import TEXT
from kopt.display.panels.task import Task
from kopt.display.plots import COLORS
from leankeras.budget import Budget
from leankeras.errors import ModelError
from leankeras.task import Merit
from tests.kopt.display.contrast import contrast

SECONDS = 120  # longest wait
WIDGET = "application/vnd.jupyter.widget-view+json"
FIGURE = "application/vnd.plotly.v1+json"


def controls(panel, kind):
    """The panel's widgets of a kind, by description."""
    found = {}

    def visit(widget):
        if isinstance(widget, kind):
            found[widget.description] = widget
        for child in getattr(widget, "children", ()):
            visit(child)

    visit(panel.widget)
    return found


def shares(*parts):
    return pd.DataFrame({"layer": ["(call)", "loop", "dense"], "share": parts})


def ladder(*medians):
    return pd.DataFrame({"us": medians}, index=["predict", "tf.function", "XLA"])


@pytest.fixture
def latency():
    def measure(batch, threads, report):
        report("timing")
        return shares(0.1, 0.4, 0.5), ladder(1000, 100 * batch, 10.0 * threads)

    return LatencyPanel(shares(0.1, 0.8, 0.1), ladder(900, 90, 60), measure, steps=1)


def test_a_setting_that_was_not_measured_is_not_drawn(latency):
    sliders = controls(latency, ipywidgets.SelectionSlider)
    sliders["threads"].value = 1
    sliders["batch size"].value = 8
    assert latency.plot.layout.title.text == "batch 8, 1 thread: not measured yet"
    first, chosen = latency.plot.data[0], latency.plot.data[2]
    assert list(first.x) == [0.1, 0.8, 0.1]
    assert len(chosen.x) == 0


def test_the_button_measures_the_chosen_setting_and_keeps_it(latency):
    sliders = controls(latency, ipywidgets.SelectionSlider)
    sliders["threads"].value = 1
    sliders["batch size"].value = 8
    controls(latency, ipywidgets.Button)["Measure"].click()
    latency.task.wait(SECONDS)
    assert latency.plot.layout.title.text == "batch 8, 1 thread: compared with this notebook"
    assert list(latency.plot.data[2].x) == [0.1, 0.4, 0.5]
    assert list(latency.plot.data[3].x) == [125, 100, 1.25]  # microseconds per sample
    sliders["batch size"].value = 4
    assert len(latency.plot.data[2].x) == 0
    sliders["batch size"].value = 8
    assert list(latency.plot.data[2].x) == [0.1, 0.4, 0.5]
    assert list(latency.table().columns) == ["this notebook, batch 1", "batch 8, 1 thread"]


def test_of_many_layers_the_costliest_are_shown_in_the_order_they_run():
    many = pd.DataFrame(
        {"layer": [f"layer {i}" for i in range(40)], "share": np.linspace(0, 0.05, 40)}
    )
    panel = LatencyPanel(many, ladder(1, 1, 1), measure=None)
    assert list(panel.figure().data[0].y) == [f"layer {i}" for i in range(28, 40)]


def points(*settings):
    """Rows as `Stage.compare` gives them, where each quantity falls in its own way."""
    at = np.array(settings)
    rows = {"accuracy": 0.9 - 0.1 * at, "gzip_kb": 100 * (1 - at), "us": 10 * (1 - at / 2)}
    return pd.DataFrame(rows, index=at)


@pytest.fixture
def tradeoff():
    def refuse(value):
        raise ModelError("small has no <channel> that can be removed")

    return TradeoffPanel(
        {"sparsity": points(0.0, 0.5, 0.9), "fraction": points(0.0, 0.5)},
        {"sparsity": lambda value: f"model at {value}", "fraction": refuse},
        Merit("accuracy", "accuracy"),
        measure=lambda made: points(0.0, *made) * [1, 1, 2],  # on a machine that is half as fast
    )


@pytest.mark.parametrize(
    ("setting", "expected", "source"),
    [
        (0.5, [0.85 / 0.9, 0.5, 0.75], "(measured)"),
        (0.7, [0.83 / 0.9, 0.3, 0.65], "(interpolated between 0.5 and 0.9)"),
        (0.95, [0.81 / 0.9, 0.1, 0.55], "(values of 0.9, the last measured point)"),
    ],
)
def test_the_rings_are_on_the_curve_where_the_slider_stands(tradeoff, setting, expected, source):
    controls(tradeoff, ipywidgets.FloatSlider)["sparsity"].value = setting
    rings = tradeoff.plot.data[3]
    assert set(rings.x) == {setting}
    assert list(rings.y) == pytest.approx(expected)
    said = [text.value for text, _ in tradeoff.texts]
    assert said[0].startswith(f"sparsity {setting:.2f}: accuracy {90 * expected[0]:.1f} %, ")
    assert said[0].endswith(source)
    assert said[1].startswith("fraction 0.50: ")


@pytest.mark.parametrize("setting", [0.7, 0.9])
def test_a_computed_point_joins_the_curve_in_its_place(tradeoff, setting):
    controls(tradeoff, ipywidgets.FloatSlider)["sparsity"].value = setting
    controls(tradeoff, ipywidgets.Button)["Compute this sparsity"].click()
    tradeoff.task.wait(SECONDS)
    assert list(tradeoff.plot.data[0].x) == sorted({0.0, 0.5, 0.9, setting})
    assert list(tradeoff.plot.data[2].y) == pytest.approx(
        [1 - at / 2 for at in tradeoff.plot.data[2].x]  # relative to the model measured alongside
    )
    assert tradeoff.task.status.value.startswith("added to the curve in")
    assert tradeoff.sentence("sparsity").endswith("(measured)")


def test_a_refused_point_is_said_in_the_panel_and_the_buttons_come_back(tradeoff):
    buttons = controls(tradeoff, ipywidgets.Button)
    before = tradeoff.table()
    buttons["Compute this fraction"].click()
    tradeoff.task.wait(SECONDS)
    assert "small has no &lt;channel&gt; that can be removed" in tradeoff.task.status.value
    assert tradeoff.task.bar.bar_style == "danger"
    assert not any(button.disabled for button in buttons.values())
    pd.testing.assert_frame_equal(tradeoff.table(), before)


FILES = pd.DataFrame(
    {
        "accuracy_lost": [0.0, 0.001, 0.02, -0.003],
        "us": [8.0, 7.9, 4.0, 5.0],
        "size_kb": [40.0, 21.0, 15.0, 16.0],
        "mode": ["float32", "float16", "int8", "int8"],
    },
    index=["float32", "float16", "int8", "int8 <QAT>"],
)


def pareto(**budget):
    return ParetoPanel(
        FILES,
        {name: Path(f"{name}.tflite") for name in FILES.index},
        Merit("accuracy", "accuracy"),
        Budget(**budget),
    )


@pytest.mark.parametrize(
    ("budget", "remaining", "front"),
    [
        ({}, list(FILES.index), ["int8", "int8 <QAT>"]),
        ({"accuracy_loss": 0.01}, ["float32", "float16", "int8 <QAT>"], ["int8 <QAT>"]),
        ({"size_kb": 15.5}, ["int8"], ["int8"]),
        ({"latency_us": 7.95, "accuracy_loss": 0.01}, ["float16", "int8 <QAT>"], ["int8 <QAT>"]),
        ({"latency_us": 1}, [], []),
    ],
)
def test_what_remains_within_a_budget(budget, remaining, front):
    panel = pareto(**budget)
    assert panel.remaining == remaining
    assert panel.front == front
    assert list(panel.plot.data[0].x) == FILES.us[front].tolist()
    assert panel.table().remains.sum() == len(remaining)
    assert panel.chosen == (front[0] if front else "int8")


def test_the_sliders_move_the_budget():
    panel = pareto(latency_us=6, accuracy_loss=0.01)
    sliders = controls(panel, ipywidgets.FloatSlider)
    logarithmic = controls(panel, ipywidgets.FloatLogSlider)
    assert panel.plot.layout.title.text.startswith("1 of 4 files remain")
    sliders["points lost"].value = 2.0
    assert panel.remaining == ["int8", "int8 <QAT>"]
    assert panel.plot.layout.shapes[1].y0 == pytest.approx(2)
    logarithmic["latency, µs"].value = 7.95
    assert panel.plot.layout.title.text.startswith("3 of 4 files remain")
    logarithmic["size, kB"].value = 15.5
    assert panel.remaining == ["int8"]


def test_a_click_and_its_keyboard_equivalent_choose_the_same():
    panel = pareto()
    names = controls(panel, ipywidgets.SelectionSlider)["file"]
    dots = panel.plot.data[-1]
    dots._dispatch_on_click(_Clicked([3]), None)
    assert panel.chosen == names.value == "int8 <QAT>"
    assert list(panel.plot.data[1].x) == [5.0]
    said = panel.texts[0][0].value
    assert "<td>int8 &lt;QAT&gt;.tflite</td>" in said
    assert "<th>mode</th><td>int8</td>" in said
    names.value = "float16"
    assert panel.details()["file"] == "float16.tflite"
    assert list(panel.plot.data[1].x) == [7.9]


class _Clicked:
    def __init__(self, indices):
        self.point_inds = indices


def without_seconds(text):
    return re.sub(r"\d+ s\b", "N s", text)


def test_a_second_click_starts_nothing_and_the_bar_moves():
    seen, may_end = [], threading.Event()

    def work(report):
        for step in ("first", "second"):
            report(step)
            seen.append((task.bar.value, without_seconds(task.status.value)))
        may_end.wait(SECONDS)

    task = Task({"a": work, "b": work}, steps=2, done="done")
    assert task.start("a")
    assert all(button.disabled for button in task.buttons.values())
    assert not task.start("a")
    assert not task.start("b")
    with pytest.raises(TimeoutError, match="still running"):
        task.wait(0.01)
    may_end.set()
    task.wait(SECONDS)
    assert seen == [(1, "first, N s"), (2, "second, N s")]
    assert without_seconds(task.status.value) == "done in N s"
    assert not any(button.disabled for button in task.buttons.values())
    assert task.start("b")
    task.wait(SECONDS)
    assert len(seen) == 4


def test_a_fault_of_ours_is_shown_and_logged(monkeypatch):
    logged = []
    monkeypatch.setattr(threading, "excepthook", lambda raised: logged.append(raised.exc_type))
    task = Task({"a": lambda report: {}["missing"]}, steps=1, done="done")
    task.start("a")
    task.wait(SECONDS)
    assert "KeyError: &#x27;missing&#x27;" in task.status.value
    assert logged == [KeyError]


CELL = """
import pandas as pd
from pathlib import Path
from kopt.display.panels import LatencyPanel
shares = pd.DataFrame({"layer": ["loop", "dense"], "share": [0.8, 0.2]})
ladder = pd.DataFrame({"us": [9.0, 3.0]}, index=["eager", "XLA"])
LatencyPanel(shares, ladder, measure=lambda *_: Path("measured").touch())
"""


def test_unattended_a_panel_is_a_figure_and_measures_nothing(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.execute(notebook, cwd=tmp_path)
    (output,) = notebook.cells[0].outputs
    assert output.data[FIGURE]["data"][0]["orientation"] == "h"
    assert WIDGET not in output.data
    assert "eager" in output.data["text/plain"]
    assert "<td>0.8</td>" in output.data["text/html"]
    assert "widgets" not in notebook.metadata
    assert len(nbformat.writes(notebook)) < 100_000
    assert not (tmp_path / "measured").exists()


def test_attended_a_panel_follows_its_figure(tmp_path):
    manager, client = start_new_kernel(cwd=str(tmp_path))
    shown = []

    def keep(message):
        if message["msg_type"] == "display_data":
            shown.append(message["content"]["data"])

    try:
        client.execute_interactive(CELL, timeout=60, allow_stdin=True, output_hook=keep)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    figure, live = shown
    assert FIGURE in figure
    assert WIDGET in live
    assert not (tmp_path / "measured").exists()


@pytest.mark.parametrize("color", [*COLORS, TEXT])
@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_the_palette_stands_out_in_light_and_dark(color, background):
    assert contrast(color, background) >= 3


def test_panels_do_not_import_tensorflow():
    code = "import sys, kopt.display.panels; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
