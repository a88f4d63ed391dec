"""Notebook 06: which files stay within a budget, and what each of them is."""

import html
from collections.abc import Mapping
from math import ceil, floor, log10
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kopt.display.panels.panel import LABELS, TEXT, WIDE, Panel, styled
from kopt.display.plots import COLORS
from leankeras.budget import Budget
from leankeras.task import Merit

LARGEST_MARKER = 34
LOG_STEP = 0.01


class ParetoPanel(Panel):
    """Score, latency and size of several files under an adjustable budget.

    Args:
        table: indexed by name, with what is lost of the score (a fraction; negative is a gain),
            ``us`` and ``size_kb``; all columns are shown for the chosen point.
        files: the file for each name.
        merit: the score.
        budget: the initial limits; a limit of None starts beyond every point.

    Example:
        >>> ParetoPanel(result, files, stage.score, stage.case.budget)
    """

    def __init__(
        self,
        table: pd.DataFrame,
        files: Mapping[str, Path],
        merit: Merit,
        budget: Budget,
    ):
        super().__init__()
        self.points = table
        self.unit, self.lost = merit.unit, merit.columns[1]
        self.files = files
        wished = {
            self.lost: budget.may_lose(merit),
            "us": budget.latency_us,
            "size_kb": budget.size_kb,
        }
        self.ranges = {column: _range(table[column], limit) for column, limit in wished.items()}
        self.limits = {
            column: self.ranges[column][1] if limit is None else limit
            for column, limit in wished.items()
        }
        self.chosen = (table.loc[self.remaining] if self.remaining else table).us.idxmin()

    @property
    def remaining(self) -> list[str]:
        """Names of the points within all three limits."""
        within = pd.concat(
            [self.points[name] <= limit for name, limit in self.limits.items()], axis=1
        )
        return self.points.index[within.all(axis=1)].tolist()

    @property
    def front(self) -> list[str]:
        """The remaining points that no other one beats in speed and score, fastest first."""
        ordered = self.points.loc[self.remaining].sort_values(["us", self.lost])
        better = ordered[self.lost] < ordered[self.lost].cummin().shift(fill_value=np.inf)
        return ordered.index[better].tolist()

    def limit(self, column: str, value: float) -> None:
        """Move a limit, as its slider does: that of the loss, "us" or "size_kb"."""
        self.limits[column] = value
        self.refresh()

    def choose(self, name: str) -> None:
        """Choose a point, as clicking it or moving the slider does."""
        self.chosen = name
        self.refresh()

    def figure(self) -> go.Figure:
        """Loss against latency: remaining files in colour, their front a line, a ring on one."""
        points, front = self.points, self.points.loc[self.front]
        remains = points.index.isin(self.remaining)
        ring = points.loc[[self.chosen]]
        area = points.size_kb / points.size_kb.max()
        figure = go.Figure()
        figure.add_scatter(
            x=front.us, y=100 * front[self.lost], mode="lines", hoverinfo="skip",
            line={"color": COLORS[0], "dash": "dot"},
        )  # fmt: skip
        figure.add_scatter(
            x=ring.us, y=100 * ring[self.lost], mode="markers", hoverinfo="skip",
            marker={
                "symbol": "circle-open", "size": 10 + LARGEST_MARKER * np.sqrt(area[[self.chosen]]),
                "color": COLORS[1], "line_width": 3,
            },
        )  # fmt: skip
        figure.add_scatter(
            x=points.us, y=100 * points[self.lost], mode="markers+text",
            text=[n if n in (*self.front, self.chosen) else "" for n in points.index],
            textposition=np.where(points.index == self.chosen, "top center", "bottom center"),
            cliponaxis=False,
            hovertext=points.index, hoverinfo="text+x+y",
            marker={
                "size": np.maximum(8, LARGEST_MARKER * np.sqrt(area)),
                "color": np.where(remains, COLORS[0], TEXT),
                "opacity": np.where(remains, 0.85, 0.35),
            },
        )  # fmt: skip
        line = {"line": {"color": COLORS[1], "width": 1, "dash": "dash"}}
        figure.add_vline(self.limits["us"], **line)
        figure.add_hline(100 * self.limits[self.lost], **line)
        figure.update_xaxes(type="log", title="LiteRT latency, µs (logarithmic)")
        figure.update_yaxes(autorange="reversed", title=f"{self.unit} lost (up is better)")
        figure.update_layout(
            title=f"{len(self.remaining)} of {len(points)} files remain; marker area is file size",
            showlegend=False,
        )
        return styled(figure, height=460)

    def table(self) -> pd.DataFrame:
        """The points, and which of them remain."""
        return self.points.assign(remains=self.points.index.isin(self.remaining))

    def details(self) -> pd.Series:
        """Everything known about the chosen point, and its file."""
        known = self.points.loc[self.chosen]
        return pd.concat([known, pd.Series({"file": str(self.files[self.chosen])})])

    def _controls(self) -> list[ipywidgets.Widget]:
        # not a Select: JupyterLab uses its arrow keys to move between cells
        names = ipywidgets.SelectionSlider(
            options=list(self.points.index),
            value=self.chosen,
            description="file",
            style=LABELS,
            layout=WIDE,
        )
        names.observe(lambda change: self.choose(change.new), "value")

        def choose_clicked(_trace, clicked, _state):
            if clicked.point_inds:
                names.value = self.points.index[clicked.point_inds[0]]

        self.plot.data[-1].on_click(choose_clicked)
        sliders = [
            self._slider(ipywidgets.FloatSlider, self.lost, f"{self.unit} lost", 100, ".1f"),
            self._slider(ipywidgets.FloatLogSlider, "us", "latency, µs", 1, ".3g"),
            self._slider(ipywidgets.FloatLogSlider, "size_kb", "size, kB", 1, ".3g"),
        ]
        return [*sliders, self.plot, names, self.text(self._details_as_html)]

    def _slider(
        self, kind: type, column: str, description: str, scale: float, readout: str
    ) -> ipywidgets.Widget:
        low, high = self.ranges[column]
        if kind is ipywidgets.FloatLogSlider:
            steps = ceil((log10(self.limits[column]) - log10(low)) / LOG_STEP)
            lowest = log10(self.limits[column]) - steps * LOG_STEP  # the first limit is on the grid
            bounds = {"min": lowest, "max": log10(high), "step": LOG_STEP}
        else:
            bounds = {"min": floor(10 * scale * low) / 10, "max": ceil(10 * scale * high) / 10}
        slider = kind(
            value=scale * self.limits[column], description=description, readout_format=readout,
            style=LABELS, layout=WIDE, **bounds,
        )  # fmt: skip
        slider.observe(lambda change: self.limit(column, change.new / scale), "value")
        return slider

    def _details_as_html(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(_plain(value))}</td></tr>"
            for name, value in self.details().items()
        )
        return f"<table>{rows}</table>"


def _range(column: pd.Series, limit: float | None) -> tuple[float, float]:
    """The range of a limit: a little beyond every point and beyond the initial limit."""
    values = [*column, *([] if limit is None else [limit])]
    margin = 0.05 * max(abs(value) for value in values)
    low = min(values)
    return (0.9 * low if low > 0 else low - margin), max(values) + margin


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
