"""Notebook 03: what sparsity and removed channels cost and gain, at any point of the curve."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kopt.display.panels.panel import LABELS, WIDE, Panel, styled
from kopt.display.panels.task import Report, Task
from kopt.display.plots import COLORS
from leankeras.task import Merit

COSTS = {"gzip_kb": "compressed size", "us": "latency"}
STEP, MOST = 0.01, 0.99


class TradeoffPanel(Panel):
    """Curves over knobs from 0 to below 1, a slider for each, and points computed on request.

    Args:
        curves: the measured points of each knob, by its name: a frame indexed by the knob's
            settings, including 0, with the score by its name, ``gzip_kb`` and ``us``.
        make: for each knob a function ``make(value)`` that returns a model trained there.
        merit: the score.
        measure: ``measure({value: model})`` returns a frame of such rows for the models and for
            the one at 0, which is measured again alongside.

    Example:
        >>> TradeoffPanel(
        ...     {"sparsity": zeros_curve},
        ...     {"sparsity": lambda value: kopt.prune(model, data, sparsity=value)},
        ...     stage.score,
        ...     measure=lambda made: stage.compare({0.0: model, **made}),
        ... )
    """

    def __init__(
        self,
        curves: Mapping[str, pd.DataFrame],
        make: Mapping[str, Callable[[float], Any]],
        merit: Merit,
        measure: Callable[[dict[float, Any]], pd.DataFrame],
    ):
        super().__init__()
        self.merit = merit
        self.lines = {merit.name: merit.name, **COSTS}
        self.curves = {knob: self._relative(table) for knob, table in curves.items()}
        self.settings = {knob: float(table.index.max()) for knob, table in curves.items()}
        self._score = {knob: table[merit.name][0] for knob, table in curves.items()}
        self._make = make
        self._measure = measure

    @cached_property
    def task(self) -> Task:
        """The buttons that compute a point, and their progress."""
        works = {f"Compute this {knob}": partial(self._compute, knob) for knob in self.curves}
        return Task(works, steps=2, done="added to the curve")

    def set(self, knob: str, value: float) -> None:
        """Move a knob, as its slider does."""
        self.settings[knob] = value
        self.refresh()

    def at(self, knob: str) -> pd.Series:
        """The quantities at a knob's setting, interpolated between its measured neighbours.

        Beyond the last measured point, that point's values are used.
        """
        curve = self.curves[knob]
        return pd.Series(
            {line: np.interp(self.settings[knob], curve.index, curve[line]) for line in curve}
        )

    def sentence(self, knob: str) -> str:
        """What the setting costs and gains, and whether that was measured, in one line."""
        curve, value = self.curves[knob], self.settings[knob]
        points = curve.index.to_numpy(dtype=float)
        nearest = points[np.abs(points - value).argmin()]
        if np.isclose(nearest, value):
            source = "measured"
        elif value > points.max():
            source = f"values of {points.max():g}, the last measured point"
        else:
            below, above = points[points < value].max(), points[points > value].min()
            source = f"interpolated between {below:g} and {above:g}"
        here = self.at(knob)
        score = self.merit.in_words(here[self.merit.name] * self._score[knob])
        return (
            f"{knob} {value:.2f}: {score}, "
            f"{here.gzip_kb:.2f}× the compressed size, {here.us:.2f}× the latency ({source})"
        )

    def figure(self) -> go.Figure:
        """One plot per knob: measured points as lines, the setting as rings on them."""
        figure = make_subplots(1, len(self.curves), shared_yaxes=True, horizontal_spacing=0.06)
        colors = COLORS[: len(self.lines)]
        for column, (knob, curve) in enumerate(self.curves.items(), start=1):
            for color, (line, name) in zip(colors, self.lines.items(), strict=True):
                figure.add_scatter(
                    x=curve.index, y=curve[line], name=name, legendgroup=name, mode="lines+markers",
                    line_color=color, showlegend=column == 1, row=1, col=column,
                )  # fmt: skip
            figure.add_scatter(
                x=[self.settings[knob]] * len(self.lines), y=self.at(knob).tolist(), mode="markers",
                marker={"symbol": "circle-open", "size": 14, "line_width": 3, "color": colors},
                hoverinfo="skip", showlegend=False, row=1, col=column,
            )  # fmt: skip
            figure.update_xaxes(title=knob, range=[-0.03, 1.03], col=column)
        figure.update_yaxes(title="relative to the original model", rangemode="tozero", col=1)
        figure.update_layout(title="Costs and gains, measured and interpolated")
        return styled(figure, height=400)

    def table(self) -> pd.DataFrame:
        """The measured points, relative to those at 0."""
        return pd.concat(self.curves, names=["knob", "setting"])

    def _compute(self, knob: str, report: Report) -> None:
        value = self.settings[knob]
        report(f"making the model with {knob} {value:.2f}")
        model = self._make[knob](value)
        report("measuring it")
        point = self._relative(self._measure({value: model})).loc[[value]]
        others = self.curves[knob].drop(index=value, errors="ignore")
        self.curves[knob] = pd.concat([others, point]).sort_index()
        self.refresh()

    def _relative(self, table: pd.DataFrame) -> pd.DataFrame:
        """Measured points relative to the one at 0, which was measured alongside."""
        lines = table[list(self.lines)]
        return lines / lines.loc[0]

    def _controls(self) -> list[ipywidgets.Widget]:
        rows = []
        for (knob, setting), button in zip(
            self.settings.items(), self.task.buttons.values(), strict=True
        ):
            slider = ipywidgets.FloatSlider(
                value=setting, min=STEP, max=MOST, step=STEP, description=knob,
                style=LABELS, layout=WIDE,
            )  # fmt: skip
            slider.observe(lambda change, knob=knob: self.set(knob, change.new), "value")
            rows += [ipywidgets.HBox([slider, button]), self.text(partial(self.sentence, knob))]
        return [*rows, self.task.line, self.plot]
