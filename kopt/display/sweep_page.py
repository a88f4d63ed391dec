"""The page about all points of a sweep: what each setting cost and gained, and the best ones."""

import html
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kopt.display.plots import COLORS
from kopt.display.report import QUICK, figure_html, write_page
from leankeras.runtime import pareto_front

SCALE = "Viridis"
HOW = (
    "Latencies were measured once all points were finished, one point after another on one worker "
    "with nothing else running, each taking turns with the slow model of its own run; those in the "
    "records of the runs were taken while other workers were running. A marker's area is the file "
    "size. Ringed points are on the Pareto front of score, latency and size: no other point of "
    "the same case is at least as good in all three and better in one."
)


def write_sweep_page(table: pd.DataFrame, parameters: list[str], path: Path) -> Path:
    """Draw the page of a sweep.

    Args:
        table: one row per point, indexed by its name; the parameters, ``status`` ("finished"
            or "failed"), ``score`` (the name of what the case is judged by),
            ``lower_is_better``, a column of that name, ``lost``, ``size_kb``,
            ``latency_us``, ``speedup``, ``speedup_low``, ``speedup_high``, ``within_budget``,
            ``error``.
        parameters: which of its columns are parameters, "case" among them.
        path: the ``.html`` to write.

    Raises:
        WorkspaceError: the path cannot be written.
    """
    finished = table[table.status == "finished"]
    failed = table[table.status == "failed"]
    axes = [name for name in parameters if table[name].nunique(dropna=False) > 1]
    constants = [f"{name} = {table[name].iloc[0]}" for name in parameters if name not in axes]
    sections = [
        f"<p>{len(finished)} of {len(table)} points finished. "
        f"Common to all of them: {html.escape(', '.join(constants)) or 'nothing'}.</p>",
        f"<p>{HOW}</p>",
        *([f'<p class="warning">{QUICK}</p>'] if "quick" in table and table.quick.any() else []),
    ]
    front = pd.Series(False, index=finished.index)
    for case, points in finished.groupby("case", sort=False):
        score, sign = points.score.iloc[0], 1 if points.lower_is_better.iloc[0] else -1
        costs = points[["latency_us", "size_kb"]].assign(score=sign * points[score])
        front[points.index] = pareto_front(costs)
        title = f"{html.escape(str(case))}: {score} against latency"
        sections.append(figure_html(sweep_figure(points, front[points.index], axes, title)))
    if len(finished):
        sections += ["<h2>Points</h2>", _points(finished, front, axes)]
    if len(failed):
        sections += ["<h2>Failed</h2>", _as_html(failed[[*axes, "error"]])]
    return write_page("Sweep", sections, path)


def sweep_figure(
    points: pd.DataFrame, front: np.ndarray | pd.Series, axes: list[str], title: str
) -> go.Figure:
    """Score against latency for the points of one case, with a menu to colour them by.

    Args:
        points: the finished points.
        front: the ones to ring.
        axes: the parameters that can set the colour.
        title: the figure's title.
    """
    score = points.score.iloc[0]
    size = {"sizemode": "area", "sizeref": points.size_kb.max() / 30**2, "sizemin": 5}
    hover = [
        "<br>".join([f"<b>{html.escape(str(name))}</b>", *_told(row, axes)])
        for name, row in points.iterrows()
    ]
    figure = go.Figure(
        go.Scatter(
            x=points.latency_us,
            y=points[score],
            mode="markers",
            marker={"size": points.size_kb, **size, "color": COLORS[0]},
            text=hover,
            hovertemplate="%{text}<extra></extra>",
            name="points",
        )
    )
    best = points[np.asarray(front)]
    figure.add_scatter(
        x=best.latency_us,
        y=best[score],
        mode="markers",
        marker={
            "size": best.size_kb, **size, "color": "rgba(0, 0, 0, 0)",
            "line": {"width": 2.5, "color": COLORS[4]},
        },
        hoverinfo="skip",
        name="Pareto front",
    )  # fmt: skip
    colourings = [_colouring(points[name]) for name in axes if points[name].nunique() > 1]
    if colourings:
        figure.data[0].marker.update(colourings[0]["marker"])
        figure.update_layout(updatemenus=[_menu(colourings)])
    figure.update_xaxes(title="LiteRT latency, µs (logarithmic)", type="log")
    figure.update_yaxes(title=f"test {score}")
    return figure.update_layout(
        title=title, template="plotly_white", height=520, showlegend=False, margin={"t": 90}
    )


def _colouring(values: pd.Series) -> dict:
    """How a parameter colours the points: one step of the scale per value."""
    choices = sorted(values.dropna().unique())
    codes = values.map({value: code for code, value in enumerate(choices)})
    labels = [html.escape(str(value)) for value in choices]
    marker = {
        "color": codes.astype(float).tolist(),
        "colorscale": SCALE,
        "cmin": 0,
        "cmax": max(1, len(choices) - 1),
        "showscale": True,
        "colorbar": {
            "title": {"text": html.escape(values.name)},
            "tickvals": list(range(len(choices))),
            "ticktext": labels,
        },
    }
    return {"name": html.escape(values.name), "marker": marker}


def _menu(colourings: list[dict]) -> dict:
    buttons = [
        {
            "label": f"colour: {colouring['name']}",
            "method": "restyle",
            "args": [
                {f"marker.{key}": [value] for key, value in colouring["marker"].items()},
                [0],
            ],
        }
        for colouring in colourings
    ]
    return {"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"}


def _told(row: pd.Series, axes: list[str]) -> list[str]:
    return [
        *(f"{html.escape(name)}: {html.escape(str(row[name]))}" for name in axes),
        f"{row.score} {row[row.score]:.3g}",
        f"{row.latency_us:.3g} µs, {row.speedup:.3g}×",
        f"{row.size_kb:.3g} kB",
        f"budget: {html.escape(row.within_budget)}",
    ]


def _points(finished: pd.DataFrame, front: pd.Series, axes: list[str]) -> str:
    columns = [
        *axes, *finished.score.unique(), "lost", "size_kb", "gzip_kb", "latency_us", "speedup",
        "speedup_low", "speedup_high", "within_budget",
    ]  # fmt: skip
    table = finished[columns].assign(front=front.map({True: "yes", False: ""}))
    return (
        "<p>Shares such as accuracy are in per cent, and what is lost of them in points relative "
        "to the slow model; the growth of an error is in per cent. Sizes are in kB of 1000 bytes. "
        "Latency is that of one undisturbed inference in LiteRT on one thread. Speed-up is "
        "relative to the slow model in the same runtime, with its 95 % "
        "interval.</p>" + _as_html(table)
    )


def _as_html(table: pd.DataFrame) -> str:
    """A table with its text in full; it scrolls if the page is too narrow."""
    with pd.option_context("display.max_colwidth", None):
        text = table.to_html(float_format="{:,.4g}".format, border=0, index_names=False)
    return f'<div style="overflow-x: auto">{text}</div>'
