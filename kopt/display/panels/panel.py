"""What all panels share: how they are displayed, live or as a figure, and how they look."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import ipywidgets
import pandas as pd
import plotly.graph_objects as go
from IPython import get_ipython
from IPython.display import display

from kopt.display.plots import COLORS

# Readable on white and on JupyterLab's dark grey; if the theme is known, the style below uses the
# theme's own text colour.
TEXT, GRID = "#77808a", "rgba(119, 128, 138, 0.3)"
STYLE = """<style>
.kopt-panel .main-svg :not(.hovertext) > text { fill: var(--jp-ui-font-color1, #77808a) !important }
.kopt-panel .kopt-error { color: var(--jp-error-color1, #b8433f) }
.kopt-panel td, .kopt-panel th { padding: 0 .7em 0 0; text-align: left }
.jp-OutputArea-child:has(+ .jp-OutputArea-child .kopt-panel) { display: none }
</style>"""
WIDE = {"width": "26em"}
LABELS = {"description_width": "9em"}


def attended() -> bool:
    """Whether the running cell was sent by a front end that somebody is using.

    With each request, a front end says whether it can be asked for input (``allow_stdin`` in the
    Jupyter messaging protocol). JupyterLab can; papermill, nbconvert and anything else that runs
    notebooks through nbclient cannot. Outside a kernel, nobody would see a widget either.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    return bool(kernel.get_parent("shell").get("content", {}).get("allow_stdin"))


class Panel(ABC):
    """Controls and a figure that is a function of their state.

    The state is in plain attributes, and widgets are created when first needed: a notebook that
    runs unattended creates none, so none are stored in it.

    As the last line of a cell, a panel shows its figure, and also the live panel if somebody is
    there. The style of the live panel hides the figure before it; a notebook opened again without
    its kernel, or on a page that does not support widgets, still has the figure.
    """

    def __init__(self) -> None:
        self._drawing = threading.RLock()
        self.texts: list[tuple[ipywidgets.HTML, Callable[[], str]]] = []

    @abstractmethod
    def figure(self) -> go.Figure:
        """The figure for the current state; it always has the same number and kinds of traces."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """The numbers in the figure, for viewers that cannot draw it."""

    @abstractmethod
    def _controls(self) -> list[ipywidgets.Widget]:
        """The widgets above and below the figure, including ``self.plot``."""

    def refresh(self) -> None:
        """Update the live figure to the state; does nothing if there is no live figure."""
        if "plot" not in self.__dict__:
            return
        with self._drawing:  # a finished measurement and a moving slider may meet here
            figure = self.figure()
            with self.plot.batch_update():
                for trace, wanted in zip(self.plot.data, figure.data, strict=True):
                    trace.update(wanted.to_plotly_json(), overwrite=True)
                self.plot.layout.update(figure.layout.to_plotly_json(), overwrite=True)
            for widget, say in self.texts:
                widget.value = say()

    def text(self, say: Callable[[], str]) -> ipywidgets.HTML:
        """A text that is updated with every refresh."""
        widget = ipywidgets.HTML(say())
        self.texts.append((widget, say))
        return widget

    @cached_property
    def plot(self) -> go.FigureWidget:
        """The live figure; plotly.js comes from the installed package."""
        plot = go.FigureWidget(self.figure())
        plot._config = {"displaylogo": False, "responsive": True}
        return plot

    @cached_property
    def widget(self) -> ipywidgets.VBox:
        """The live panel."""
        box = ipywidgets.VBox([*self._controls(), ipywidgets.HTML(STYLE)])
        box.add_class("kopt-panel")
        return box

    def static_bundle(self) -> dict:
        """The figure as notebooks store it, with a table for viewers that cannot draw figures."""
        table = self.table().round(3)
        bundle = {"text/plain": table.to_string(), "text/html": table.to_html(border=0)}
        return bundle | self.figure()._repr_mimebundle_()

    def _ipython_display_(self) -> None:
        display(self.static_bundle(), raw=True)
        if attended():
            display(self.widget)


def styled(figure: go.Figure, height: int) -> go.Figure:
    """Style a panel's figure for any background."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": TEXT, "activecolor": COLORS[1]},
        margin={"l": 10, "r": 20, "t": 70, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, automargin=True)
    return figure
