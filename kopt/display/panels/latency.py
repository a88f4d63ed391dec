"""Notebook 01: layer shares and the ladder, measured for a chosen batch size and threads."""

from collections.abc import Callable
from functools import cached_property

import ipywidgets
import pandas as pd
import plotly.graph_objects as go
import psutil
from plotly.subplots import make_subplots

from kopt.display.panels.panel import LABELS, WIDE, Panel, styled
from kopt.display.panels.task import Report, Task
from kopt.display.plots import COLORS

BATCHES = (1, 2, 4, 8, 16, 32)
LAYERS_SHOWN = 12
QUANTITIES = ("share", "µs per sample")

Measured = tuple[pd.DataFrame, pd.DataFrame]


class LatencyPanel(Panel):
    """Where the time goes and what each way of calling costs, for another batch size and threads.

    The notebook's own measurement stays in view; the chosen setting appears beside it once the
    button has been pressed.

    Args:
        shares: the result of :func:`kopt.profile_layers` at batch 1.
        ladder: the ``.table`` of :func:`kopt.compare_latency` for the ladder at batch 1.
        measure: ``measure(batch, threads, report)`` returns both tables for another setting; it
            calls ``report`` with a few words at the beginning of each step.
        steps: the number of steps.

    Example:
        >>> LatencyPanel(shares, rungs.table, partial(explore, model, sample))
    """

    def __init__(
        self,
        shares: pd.DataFrame,
        ladder: pd.DataFrame,
        measure: Callable[[int, int, Report], Measured],
        steps: int = 3,
    ):
        super().__init__()
        self.first: Measured = (shares, ladder)
        self.measured: dict[tuple[int, int], Measured] = {}
        self.batch, self.threads = BATCHES[0], psutil.cpu_count()
        self._measure = measure
        self._steps = steps
        largest = shares.share.nlargest(LAYERS_SHOWN).index
        self._layers = shares.layer[shares.index.isin(largest)].tolist()

    @cached_property
    def task(self) -> Task:
        """The button that measures, and its progress."""
        return Task({"Measure": self._measure_chosen}, self._steps, "measured")

    @property
    def chosen(self) -> Measured | None:
        """The measurement for the chosen setting; None if there is none yet."""
        return self.measured.get((self.batch, self.threads))

    def set(self, batch: int | None = None, threads: int | None = None) -> None:
        """Choose a setting, as the controls do."""
        self.batch, self.threads = batch or self.batch, threads or self.threads
        self.refresh()

    def figure(self) -> go.Figure:
        """Bars for the notebook's measurement and the chosen one: shares left, ladder right."""
        figure = make_subplots(
            1, 2, subplot_titles=("share of one call", "µs per sample (logarithmic)"),
            horizontal_spacing=0.22,
        )  # fmt: skip
        names = ("this notebook, batch 1", self._setting())
        for name, color, measured, batch in zip(
            names, COLORS, (self.first, self.chosen), (1, self.batch), strict=False
        ):
            shares, ladder = _drawn(measured, self._layers, batch)
            look = {"name": name, "marker_color": color, "orientation": "h", "legendgroup": name}
            figure.add_bar(
                x=shares, y=shares.index, text=shares.map("{:.0%}".format),
                textposition="outside", cliponaxis=False, **look, row=1, col=1,
            )  # fmt: skip
            figure.add_bar(
                x=ladder, y=ladder.index, text=ladder.map("{:,.0f}".format), showlegend=False,
                textposition="outside", cliponaxis=False, **look, row=1, col=2,
            )  # fmt: skip
        figure.update_xaxes(tickformat=".0%", col=1)
        figure.update_xaxes(type="log", col=2)
        figure.update_yaxes(autorange="reversed")
        figure.update_layout(title=self._title(), title_y=0.98)
        styled(figure, height=170 + 34 * max(len(self._layers), len(self.first[1])))
        return figure.update_layout(margin_t=100, margin_r=60, legend_y=1.08)

    def table(self) -> pd.DataFrame:
        """Shares and microseconds per sample for both settings."""
        columns = {
            "this notebook, batch 1": (self.first, 1),
            self._setting(): (self.chosen, self.batch),
        }
        return pd.DataFrame(
            {
                name: pd.concat(_drawn(measured, self._layers, batch), keys=QUANTITIES)
                for name, (measured, batch) in columns.items()
                if measured
            }
        )

    def _setting(self) -> str:
        return f"batch {self.batch}, {self.threads} thread{'s' * (self.threads > 1)}"

    def _title(self) -> str:
        state = "compared with this notebook" if self.chosen else "not measured yet"
        return f"{self._setting()}: {state}"

    def _measure_chosen(self, report: Report) -> None:
        setting = (self.batch, self.threads)
        self.measured[setting] = self._measure(*setting, report)
        self.refresh()

    def _controls(self) -> list[ipywidgets.Widget]:
        cores = psutil.cpu_count()
        batch = ipywidgets.SelectionSlider(
            options=BATCHES, value=self.batch, description="batch size",
            style=LABELS, layout=WIDE,
        )  # fmt: skip
        threads = ipywidgets.SelectionSlider(
            options=sorted({1, *range(2, cores + 1, 2), cores}), value=self.threads,
            description="threads", style=LABELS, layout=WIDE,
        )  # fmt: skip
        batch.observe(lambda change: self.set(batch=change.new), "value")
        threads.observe(lambda change: self.set(threads=change.new), "value")
        controls = ipywidgets.HBox([batch, threads, *self.task.buttons.values()])
        return [controls, self.task.line, self.plot]


def _drawn(measured: Measured | None, layers: list[str], batch: int) -> list[pd.Series]:
    """Shares of some layers, and the ladder in µs per sample; empty if there is no measurement."""
    if measured is None:
        return [pd.Series(dtype=float)] * 2
    shares, ladder = measured
    return [shares.set_index("layer").share.reindex(layers), ladder.us / batch]
