"""The figures of the notebooks and the report, each drawn from a table that can also be read."""

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from leankeras.arrays import Arrays, named_or_listed
from leankeras.task import Merit

COLORS = ["#2563a8", "#cf7820", "#3a8f5c", "#8c5aa8", "#b8433f", "#5f6b76"]
HEIGHT = 380


def sample(x: Arrays, title: str) -> go.Figure:
    """One sample: a series ``(time, channels)`` as lines, an image ``(rows, columns, colours)``.

    Of several inputs, the first.
    """
    x = np.asarray(named_or_listed(x)[0])
    if x.ndim == 3 and x.shape[-1] in (1, 3):
        low, high = x.min(), x.max()
        picture = np.uint8(255 * (x - low) / max(high - low, 1e-12))
        picture = picture[..., 0] if x.shape[-1] == 1 else picture
        figure = px.imshow(picture, color_continuous_scale="gray", title=title)
        return _styled(figure.update_layout(coloraxis_showscale=False))
    figure = px.line(
        pd.DataFrame(x.reshape(len(x), -1)),
        title=title,
        labels={"index": "time step", "value": "", "variable": "channel"},
        color_discrete_sequence=COLORS,
    )
    return _styled(figure)


def layer_shares(tables: dict[str, pd.DataFrame], title: str) -> go.Figure:
    """Time per layer in one or several models, as bars side by side.

    Args:
        tables: the result of :func:`kopt.profile_layers` for each model, by its name.
        title: the figure's title.
    """
    rows = pd.concat(tables, names=["model"]).reset_index("model")
    figure = px.bar(
        rows,
        x="us",
        y="layer",
        color="model",
        barmode="group",
        orientation="h",
        text=rows.share.map("{:.0%}".format),
        title=title,
        labels={"us": "µs in the running model", "layer": ""},
        color_discrete_sequence=COLORS,
    )
    figure.update_yaxes(autorange="reversed")
    return _styled(figure, height=80 + 26 * len(rows))


def operations(graphs: dict[str, pd.DataFrame], title: str) -> go.Figure:
    """The operations of models, one above the other, each as a dot that lines lead to and from.

    Args:
        graphs: the result of :func:`leankeras.runtime.operation_graph` for each model, by its name.
        title: the figure's title.
    """
    names = [f"{name}: {len(graph)} operations" for name, graph in graphs.items()]
    figure = make_subplots(len(graphs), 1, shared_xaxes="all", shared_yaxes="all",
                           subplot_titles=names, vertical_spacing=0.12)  # fmt: skip
    common = pd.concat(graphs.values()).operation.value_counts().index[: len(COLORS) - 1]
    for row, graph in enumerate(graphs.values(), 1):
        levels = graph.groupby("depth").depth
        x, y = graph.depth, levels.cumcount() - (levels.transform("size") - 1) / 2
        ends = [(taken, number) for number, each in graph.inputs.items() for taken in each]
        lines = pd.Index([n for pair in ends for n in (*pair, None)])  # None ends a line
        style = {"mode": "lines", "line": {"color": "#d5dae0", "width": 1}, "hoverinfo": "skip"}
        lines = go.Scatter(x=x.reindex(lines), y=y.reindex(lines), showlegend=False, **style)
        figure.add_trace(lines, row=row, col=1)
        kinds = graph.operation.where(graph.operation.isin(common), "other")
        for kind, color in zip([*common, "other"], COLORS, strict=False):
            mine, style = kinds == kind, {"mode": "markers", "marker": {"size": 6, "color": color}}
            labels = {"text": graph.operation[mine], "name": kind, "legendgroup": kind}
            dots = go.Scatter(x=x[mine], y=y[mine], showlegend=row == 1, **labels, **style)
            figure.add_trace(dots, row=row, col=1)
    figure.update_yaxes(visible=False)
    figure.update_xaxes(title="operations, one after another", row=len(graphs))
    figure = _styled(figure.update_layout(title=title), height=140 + 210 * len(graphs))
    return figure.update_layout(margin_t=100, legend_y=1.1)


def latencies(table: pd.DataFrame, title: str) -> go.Figure:
    """The rungs of a ladder: latency of each target, up to its 95th percentile.

    Args:
        table: the ``.table`` of a :func:`kopt.compare_latency` result.
        title: the figure's title.
    """
    figure = go.Figure(
        go.Bar(
            x=table.us,
            y=table.index,
            orientation="h",
            marker_color=COLORS[0],
            text=[f"{us:,.0f} µs" for us in table.us],
            error_x={"array": table.p95_us - table.us, "color": COLORS[5]},
        )
    )
    figure.update_xaxes(type="log", title="µs per call (logarithmic); whisker to p95")
    figure.update_yaxes(autorange="reversed")
    return _styled(figure.update_layout(title=title), height=110 + 34 * len(table))


def tradeoff(table: pd.DataFrame, lines: list[str], title: str) -> go.Figure:
    """Several quantities against one setting, each relative to its value at the first point.

    Args:
        table: indexed by the values of the setting, with the index named after it.
        lines: the columns to draw.
        title: the figure's title.
    """
    figure = px.line(
        table[lines] / table[lines].iloc[0],
        markers=True,
        title=title,
        labels={"value": f"relative to {table.index.name} {table.index[0]:g}", "variable": ""},
        color_discrete_sequence=COLORS,
    )
    return _styled(figure)


def pareto(table: pd.DataFrame, merit: Merit, title: str) -> go.Figure:
    """Score against latency, with file size as marker area; up and to the left is better.

    Args:
        table: indexed by name, with the score by its name as ``merit.shown`` gives it,
            ``latency_us`` and ``size_kb``.
        merit: the score.
        title: the figure's title.
    """
    figure = px.scatter(
        table.reset_index(names="artifact"),
        x="latency_us",
        y=merit.name,
        size="size_kb",
        color="artifact",
        text="artifact",
        log_x=True,
        size_max=42,
        title=title,
        labels={"latency_us": "LiteRT latency, µs (logarithmic)", merit.name: merit.axis},
        color_discrete_sequence=COLORS,
    )
    figure.update_traces(textposition="top center")
    if merit.is_error:
        figure.update_yaxes(autorange="reversed")
    return _styled(figure.update_layout(showlegend=False), height=460)


def calibrations(table: pd.DataFrame, merit: Merit, title: str) -> go.Figure:
    """What is lost of the score, by choice and number of calibration samples, with intervals.

    Args:
        table: the result of :func:`leankeras.quantization.compare_calibrations`.
        merit: the score.
        title: the figure's title.
    """
    points = (100 * table).reset_index().sort_values("samples")
    lost = merit.columns[1]
    figure = px.bar(
        points.assign(margin=points.lost_high - points[lost]),
        x="samples",
        y=lost,
        error_y="margin",
        color="choice",
        barmode="group",
        title=title,
        labels={lost: f"{merit.unit} lost"},
        color_discrete_sequence=COLORS,
    )
    return _styled(figure.update_xaxes(type="category"))


def _styled(figure: go.Figure, height: int = HEIGHT) -> go.Figure:
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 30, "t": 60, "b": 40},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )
